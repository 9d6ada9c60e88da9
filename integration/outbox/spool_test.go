package outbox_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/outbox"
)

func init() {
	roles["spooler"] = func(t *testing.T, w *world) { // its queue is away
		down := adapter.Guard(newQueue().caps, func(_ context.Context, in ...core.Intent) error {
			return core.Combine(core.Outcomes(in, core.NotSent, errDown))
		})
		box, err := outbox.New(w.dialect, &outbox.Options{For: down})
		must(t, err)
		exec := compose.WithFallback(down, box.InTx(outbox.SQL(w.db)))
		for i := range 10 {
			in := intent(t, fmt.Sprint(i))
			must(t, exec(t.Context(), in))
			fmt.Println("accepted", in.ID)
		}
		select {}
	}
}

func TestASpoolKeepsWhatAQueueThatIsAwayCannotTake(t *testing.T) {
	t.Parallel()
	w, q := newSQLite(t), newQueue()
	box := w.box(t, q)
	exec := compose.WithFallback(q.exec(), box.InTx(outbox.SQL(w.db)))
	w.relay(t, box, q)
	all := intents(t, 30)
	must(t, exec(t.Context(), all[:10]...))
	if got := w.stats(t, box); got != (outbox.Stats{}) {
		t.Errorf("the queue is there, stats %+v", got)
	}
	q.setFail(func(_ int, in []core.Intent) error { return core.Combine(core.Outcomes(in, core.NotSent, errDown)) })
	for i := 10; i < 30; i++ {
		must(t, exec(t.Context(), all[i]))
	}
	if got := w.stats(t, box); got.Waiting+got.InFlight != 20 {
		t.Errorf("the queue is away, stats %+v", got)
	}
	q.setFail(nil)
	got := q.await(t, 30)
	for i, in := range all {
		if got[i] != in.ID {
			t.Fatalf("intent %d is another one", i)
		}
	}
	w.awaitStats(t, box, outbox.Stats{})
}

func TestASpoolOutlivesItsProcess(t *testing.T) {
	t.Parallel()
	w, q := newSQLite(t), newQueue()
	box := w.box(t, q)
	c := w.start(t, "spooler")
	var accepted []string
	for range 10 {
		accepted = append(accepted, c.read(t, "accepted"))
	}
	c.kill(nil)
	w.relay(t, box, q)
	if got := q.await(t, 10); !slices.Equal(got, accepted) {
		t.Errorf("got %v, want %v", got, accepted)
	}
}

func TestAFullDiskIsAnErrorAndNothingIsLost(t *testing.T) {
	t.Parallel()
	w, q := newSQLite(t), newQueue()
	box := w.box(t, q)
	w.db.SetMaxOpenConns(1)
	spool := box.InTx(outbox.SQL(w.db))
	pages := w.number(t, "PRAGMA page_count")
	w.number(t, fmt.Sprintf("PRAGMA max_page_count = %d", pages+10))
	var stored []string
	for i := 0; ; i++ {
		in := intent(t, strings.Repeat("x", 10000))
		if err := spool(t.Context(), in); err != nil {
			if !errors.Is(err, core.ErrNotSent) {
				t.Errorf("error %v, want NotSent", err)
			}
			break
		}
		stored = append(stored, in.ID)
		if i > 100 {
			t.Fatal("the disk is never full")
		}
	}
	w.number(t, "PRAGMA max_page_count = 100000")
	w.relay(t, box, q)
	if got := q.await(t, len(stored)); !slices.Equal(got, stored) {
		t.Errorf("got %d, want %d", len(got), len(stored))
	}
}

func TestAReadOnlyFileIsAnError(t *testing.T) {
	t.Parallel()
	w, q := newSQLite(t), newQueue()
	w.box(t, q)
	readonly := openSQLite(t, strings.ReplaceAll(w.source, "?", "?_pragma=query_only(1)&"))
	box, err := outbox.New(outbox.SQLite, &outbox.Options{For: q.exec()})
	must(t, err)
	if err := box.InTx(outbox.SQL(readonly.db))(t.Context(), intent(t, "a")); !errors.Is(err, core.ErrNotSent) {
		t.Errorf("error %v", err)
	}
	failed := make(chan outbox.Report, 100)
	must(t, box.CheckTable(t.Context(), outbox.SQL(readonly.db)))
	w.store(t, box, intent(t, "a"))
	readonly.relay(t, box, q, func(o *outbox.RelayOptions) {
		o.Observer = func(r outbox.Report) {
			select {
			case failed <- r:
			default:
			}
		}
	})
	if r := <-failed; r.Err == nil {
		t.Errorf("report %+v", r)
	}
}

// A spool keeps on disk what a queue that is away cannot take. Its relay sends it
// when the queue is back.
func Example_spool() {
	dir, err := os.MkdirTemp("", "spool")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "spool.db")+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(10000)")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	ctx, cancel := context.WithCancel(context.Background())

	queue := newQueue() // your queue
	queue.setFail(func(_ int, in []core.Intent) error { return core.Combine(core.Outcomes(in, core.NotSent, errDown)) })

	box, err := outbox.New(outbox.SQLite, &outbox.Options{For: queue.exec(), Logger: quiet})
	if err != nil {
		log.Fatal(err)
	}
	if err := box.CreateTable(ctx, outbox.SQL(db)); err != nil {
		log.Fatal(err)
	}
	spool := box.InTx(outbox.SQL(db))
	exec := compose.WithFallback(queue.exec(), spool)

	in, err := task.Intent("A-1")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("while the queue is away:", exec(ctx, in))

	relay, err := outbox.NewRelay(box, outbox.SQL(db), queue.exec(), &outbox.RelayOptions{Poll: 10 * time.Millisecond})
	if err != nil {
		log.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- relay.Run(ctx) }()
	queue.setFail(nil)
	for len(queue.ids()) == 0 {
		time.Sleep(time.Millisecond)
	}
	fmt.Println("when it is back: the same intent,", queue.ids()[0] == in.ID)
	cancel()
	fmt.Println("the relay:", <-done)
	// Output:
	// while the queue is away: <nil>
	// when it is back: the same intent, true
	// the relay: <nil>
}
