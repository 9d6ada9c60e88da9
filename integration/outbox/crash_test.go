package outbox_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/airlocksql"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/outbox"
)

// The environment of child processes: what they do, and on which database.
const (
	childRole    = "AIRLOCK_OUTBOX_CHILD"
	childDialect = "AIRLOCK_OUTBOX_DIALECT"
	childDriver  = "AIRLOCK_OUTBOX_DRIVER" // its name for sql.Open
	childSource  = "AIRLOCK_OUTBOX_SOURCE"
)

// roles are further programs of child processes.
var roles = make(map[string]func(t *testing.T, w *world))

// TestChild is the program of a child process, and does nothing as a test.
func TestChild(t *testing.T) {
	role := os.Getenv(childRole)
	if role == "" {
		return
	}
	dialect := outbox.Dialect(os.Getenv(childDialect))
	w := &world{dialect, nil, os.Getenv(childDriver), os.Getenv(childSource)}
	db, err := sql.Open(w.driver, w.source)
	must(t, err)
	w.db = db
	box, err := outbox.New(dialect, &outbox.Options{For: w.ledger(), DB: outbox.SQL(db), Lease: time.Second, Logger: quiet})
	must(t, err)
	if run := roles[role]; run != nil {
		run(t, w)
	}
	switch role {
	case "slow relay": // its dispatch takes until it loses the lease
		exec := adapter.Guard(newQueue().caps, func(ctx context.Context, in ...core.Intent) error {
			fmt.Println("began", in[0].ID)
			<-ctx.Done()
			fmt.Println("ended", context.Cause(ctx))
			return core.Combine(core.Outcomes(in, core.Accepted, nil)) // so that it would delete the row
		})
		relay, err := outbox.NewRelay(box, outbox.SQL(db), exec, &outbox.RelayOptions{Lease: time.Second, Poll: 20 * time.Millisecond, Logger: quiet,
			Observer: func(r outbox.Report) {
				if r.Claimed > 0 {
					fmt.Println("lost", r.Lost)
				}
			}})
		must(t, err)
		_ = relay.Run(t.Context())
	case "dies after COMMIT":
		dies := adapter.Guard(newQueue().caps, func(context.Context, ...core.Intent) error {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		})
		box, err := outbox.New(dialect, &outbox.Options{For: dies, DB: outbox.SQL(db), Lease: time.Second})
		must(t, err)
		must(t, airlocksql.RunTx(t.Context(), db, nil, nil, pay, airlocksql.Outbox(box)))
	}
}

// ledger is a queue in a table of the same database: one row per dispatch.
func (w *world) ledger() core.Executor {
	return adapter.Guard(newQueue().caps, func(ctx context.Context, in ...core.Intent) error {
		for i := range in {
			order, err := task.Args(in[i])
			if err == nil {
				_, err = w.db.ExecContext(ctx, fmt.Sprintf("INSERT INTO ledger VALUES ('%s', '%s')", in[i].ID, order))
			}
			if err != nil {
				out := core.Outcomes(in, core.Accepted, nil)
				for k := i; k < len(in); k++ {
					out[k] = in[k].Outcome(core.Unknown, errors.New("the ledger failed"))
				}
				return core.Combine(out)
			}
		}
		return nil
	})
}

type child struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

func (w *world) start(t *testing.T, role string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestChild$")
	cmd.Env = append(os.Environ(), childRole+"="+role, childDialect+"="+string(w.dialect), childDriver+"="+w.driver, childSource+"="+w.source)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	c := &child{cmd, bufio.NewScanner(out)}
	t.Cleanup(func() { c.kill(out) })
	return c
}

func (c *child) kill(out io.Closer) {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait() // killed, as was asked
}

// read reads lines until one begins like this.
func (c *child) read(t *testing.T, prefix string) string {
	t.Helper()
	for c.lines.Scan() {
		if rest, ok := strings.CutPrefix(c.lines.Text(), prefix); ok {
			return strings.TrimSpace(rest)
		}
	}
	t.Fatalf("the child ended without a line %q", prefix)
	return ""
}

func (w *world) tables(t *testing.T) {
	t.Helper()
	w.exec(t, "CREATE TABLE orders (id varchar(40))")
	w.exec(t, "CREATE TABLE ledger (id varchar(40), job varchar(40))")
}

var (
	_ = add("crash: a process that dies between COMMIT and dispatch loses nothing", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q)
		w.tables(t)
		c := w.start(t, "dies after COMMIT")
		_ = c.cmd.Wait()
		if n := w.number(t, "SELECT count(*) FROM orders"); n != 1 {
			t.Fatalf("%d orders, want the one of the child", n)
		}
		w.relay(t, box, q)
		q.await(t, 1)
		w.awaitStats(t, box, outbox.Stats{})
	})
	_ = add("crash: a relay that was stopped beyond its lease deletes nothing", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q)
		in := intent(t, "a")
		w.store(t, box, in)
		c := w.start(t, "slow relay")
		if got := c.read(t, "began"); got != in.ID {
			t.Fatalf("began %s", got)
		}
		must(t, c.cmd.Process.Signal(syscall.SIGSTOP))
		sending, release := make(chan struct{}), make(chan struct{})
		q.setFail(func(int, []core.Intent) error {
			close(sending)
			<-release
			return nil
		})
		w.relay(t, box, q) // takes the row when the lease has ended
		<-sending
		must(t, c.cmd.Process.Signal(syscall.SIGCONT))
		if got := c.read(t, "ended"); !strings.Contains(got, "lease") {
			t.Errorf("the stopped relay's dispatch ended with %q", got)
		}
		if got := c.read(t, "lost"); got != "1" {
			t.Errorf("the stopped relay lost %s rows, want 1", got)
		}
		if got := w.stats(t, box); got != (outbox.Stats{InFlight: 1}) {
			t.Errorf("stats %+v, the row belongs to the other relay", got)
		}
		c.kill(nil)
		close(release)
		if got := q.await(t, 1); got[0] != in.ID {
			t.Errorf("got %v", got)
		}
		w.awaitStats(t, box, outbox.Stats{})
	})
	_ = add("a dispatch that takes longer than the lease", func(t *testing.T, w *world) {
		const lease, trials = time.Second, 5
		q := newQueue()
		box := w.box(t, q)
		q.setFail(func(int, []core.Intent) error {
			time.Sleep(5 * lease / 2)
			return nil
		})
		var lost atomic.Int64 // rows whose lease has ended: the machine may stand still for so long
		for range 2 {
			w.relay(t, box, q, func(o *outbox.RelayOptions) {
				o.Lease = lease
				o.Observer = func(r outbox.Report) { lost.Add(int64(r.Lost)) }
			})
		}
		for trial := 1; ; trial++ {
			calls, losses := q.numberOfCalls(), lost.Load()
			w.store(t, box, intent(t, "a"))
			q.await(t, trial)
			w.awaitStats(t, box, outbox.Stats{})
			switch calls, losses = q.numberOfCalls()-calls, lost.Load()-losses; {
			case calls == 1:
				return
			case losses == 0 || trial == trials:
				t.Fatalf("%d calls, want one: the lease is renewed (%d rows lost, trial %d)", calls, losses, trial)
			}
		}
	})
	_ = add("writers and relays at the same time", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q)
		w.exec(t, "CREATE TABLE orders (id varchar(20))")
		for range 2 {
			w.relay(t, box, q)
		}
		const writers, each = 4, 25
		errs := make(chan error, writers*each)
		for range writers {
			go func() {
				for i := range each {
					opts := []airlock.Option{airlocksql.Outbox(box)}
					if i%2 == 0 { // stored by hand, for the relays
						errs <- airlocksql.RunTx(t.Context(), w.db, nil, nil, pay, opts...)
						continue
					}
					tx, err := w.db.BeginTx(t.Context(), nil)
					if err == nil {
						in, _ := task.Intent("by hand")
						err = errors.Join(box.InTx(outbox.SQL(tx))(t.Context(), in), tx.Commit())
					}
					errs <- err
				}
			}()
		}
		for range writers * each {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		q.await(t, writers*each)
		w.awaitStats(t, box, outbox.Stats{})
		if n := len(q.ids()); n != writers*each {
			t.Errorf("%d dispatches of %d intents", n, writers*each)
		}
	})
)
