package inspect_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/inspect"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/outbox"
)

func TestTheCommand(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T) (system, string){
		"asynq": func(t *testing.T) (system, string) {
			addr := miniRedis(t)
			return onAsynq(t, addr, false), "asynq+redis://:" + password + "@" + addr
		},
		"work": func(t *testing.T) (system, string) {
			addr := miniRedis(t)
			return onWork(t, addr), "work+redis://" + addr + "?namespace=work"
		},
		"river": func(t *testing.T) (system, string) {
			path := filepath.Join(t.TempDir(), "river.db")
			driver := sqliteDriverOf(t, path)
			migrate(t, driver)
			return onRiver(t, driver, driver), "river+sqlite://" + path
		},
		"nats": func(t *testing.T) (system, string) {
			url := servers.NATS(t, servers.NATSOptions{Private: true}).URL()
			return onNATSAt(t, url), url + "?stream=JOBS"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, url := open(t)
			command(t, s, url, true)
		})
	}
}

// TestTheCommandOnAnOutbox has rows that wait for a relay.
func TestTheCommandOnAnOutbox(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "outbox #1.db")
	db, err := sql.Open("sqlite", "file:"+strings.ReplaceAll(path, "#", "%23")+"?_pragma=busy_timeout(10000)")
	must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	onOutbox(t, outbox.SQLite, db, "outbox+sqlite://"+strings.ReplaceAll(strings.ReplaceAll(path, " ", "%20"), "#", "%23")+"?destination=far")
}

func onOutbox(t *testing.T, dialect outbox.Dialect, db *sql.DB, url string) {
	refuse := func(ctx context.Context, intents ...core.Intent) error { return core.ErrNotSent }
	box, err := outbox.New(dialect, &outbox.Options{For: refuse, Destination: "far"})
	must(t, err)
	must(t, box.CreateTable(t.Context(), outbox.SQL(db)))
	in, err := tasks[0].Intent("x", core.Queue("mail"))
	must(t, err)
	must(t, box.InTx(outbox.SQL(db))(t.Context(), in))
	run := commandOn(t, url)
	if text := run(0, "stats"); !strings.Contains(text, "mail") {
		t.Errorf("stats: %s", text)
	}
	if text := run(0, "list", "-name", "mail"); !strings.Contains(text, in.ID) {
		t.Errorf("list: %s", text)
	}
	noDestination := strings.NewReplacer("?destination=far", "", "&destination=far", "").Replace(url)
	unnamed := commandOn(t, noDestination)
	if text := unnamed(0, "stats"); !strings.Contains(text, "mail") {
		t.Errorf("stats of the only destination: %s", text)
	}
	near, err := outbox.New(dialect, &outbox.Options{For: refuse, Destination: "near"})
	must(t, err)
	must(t, near.InTx(outbox.SQL(db))(t.Context(), in))
	unnamed(2, "stats")
	path, err := airlock()
	must(t, err)
	if text, _ := exec.CommandContext(t.Context(), path, "stats", "-queue", noDestination).CombinedOutput(); !strings.Contains(string(text), "far, near") {
		t.Errorf("stats of two destinations: %s", text)
	}
	run(0, "discard", "-name", "mail", in.ID)
	run(3, "show", "-name", "mail", in.ID)
	run(4, "pause", "-name", "mail")
}

// airlock builds the command once.
var airlock = sync.OnceValues(func() (string, error) {
	var err error
	if commandDir, err = os.MkdirTemp("", "airlock-command"); err != nil {
		return "", err
	}
	path := filepath.Join(commandDir, "airlock")
	out, err := exec.Command("go", "build", "-o", path, "github.com/goairlock/airlock/cmd/airlock").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

// commandDir is where the command is built, if a test needs it.
var commandDir string

func TestMain(m *testing.M) {
	code := m.Run()
	if commandDir != "" {
		_ = os.RemoveAll(commandDir)
	}
	os.Exit(code)
}

// command runs the command on a queue with two dead jobs. Some queues show only those.
func command(t *testing.T, s system, url string, showsAll bool) {
	run := commandOn(t, url)
	e := newEnv(t, s)
	const secret = "s3cr3t-payload"
	ids := e.dead(
		func() string { return e.send(0, secret, core.Header("K", secret)) },
		func() string { return e.send(1, secret) },
	)
	has := func(text string, wants ...string) {
		t.Helper()
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("there is no %q in\n%s", want, text)
			}
		}
	}
	all := []string{"stats"}
	if !showsAll {
		run(4, "stats")
		all = append(all, "-name", e.queue)
	}
	e.await("the dead jobs are counted", func() bool {
		d, err := e.inspect.Depth(e.ctx, e.queue)
		return err == nil && d.Dead == inspect.CountOf(2)
	})
	has(run(0, all...), "QUEUE", "DEAD", e.queue, "2")
	var depth struct {
		Queue string
		Dead  int
	}
	must(t, json.Unmarshal([]byte(run(0, "stats", "-json", "-name", e.queue)), &depth))
	if depth.Queue != e.queue || depth.Dead != 2 {
		t.Errorf("stats -json: %+v", depth)
	}
	text := run(0, "dead", "-name", e.queue)
	has(text, tasks[0].Name(), tasks[1].Name(), ids[0], ids[1], errBroken.Error())
	if strings.Contains(text, ": "+errBroken.Error()) {
		t.Errorf("the handler's error has something before it:\n%s", text)
	}
	text += run(0, "dead", "-json", "-name", e.queue) + run(0, "show", "-name", e.queue, ids[0]) + run(0, "show", "-json", "-name", e.queue, ids[0])
	if strings.Contains(text, secret) {
		t.Errorf("a payload or a header is shown without -payload:\n%s", text)
	}
	has(run(0, "show", "-payload", "-name", e.queue, ids[0]), secret, "header K")
	var job struct {
		ID      string
		Payload string
		Headers map[string]string
	}
	must(t, json.Unmarshal([]byte(run(0, "dead", "-json", "-payload", "-task", tasks[0].Name(), "-name", e.queue)), &job))
	if job.ID != ids[0] || job.Payload != secret || job.Headers["K"] != secret {
		t.Errorf("dead -json -payload: %+v", job)
	}
	has(run(3, "retry", "-name", e.queue, "nobody", ids[0]), "retried "+ids[0])
	run(3, "stats", "-name", e.queue+"-none")
	run(3, "discard", "-name", e.queue, "nobody")
	run(3, "show", "-name", e.queue, "nobody")
	if showsAll {
		has(run(0, "list", "-state", "waiting", "-name", e.queue), ids[0])
	} else {
		run(4, "list", "-state", "waiting", "-name", e.queue)
		run(4, "pause", "-name", e.queue)
	}
	has(run(0, "retry", "-all", "-task", "nobody", "-name", e.queue), "retried 0")
	has(run(0, "discard", "-name", e.queue, ids[1]), "discarded "+ids[1])
	if showsAll {
		has(run(0, "pause", "-name", e.queue), "paused")
		has(run(0, "stats"), "paused")
		has(run(0, "resume", "-name", e.queue), "resumed")
	}
	if s.run != nil {
		stop := e.serve(func(context.Context, string) error { return nil })
		e.await("the retried job runs", func() bool {
			e.mu.Lock()
			defer e.mu.Unlock()
			return len(e.runs) == 1 && e.runs[0].ID == ids[0]
		})
		stop()
	}
}

// commandOn returns a function that runs the command on a queue, wants an exit code and
// returns what was printed.
func commandOn(t *testing.T, url string) func(want int, args ...string) string {
	path, err := airlock()
	must(t, err)
	return func(want int, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), path, args...)
		cmd.Env = append(os.Environ(), "AIRLOCK_QUEUE="+url)
		var out, errOut bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errOut
		err := cmd.Run()
		var ended *exec.ExitError
		if err != nil && !errors.As(err, &ended) {
			t.Fatal(err)
		}
		if got := cmd.ProcessState.ExitCode(); got != want {
			t.Errorf("airlock %q: exit code %d, want %d: %s", args, got, want, &errOut)
		}
		if text := out.String() + errOut.String(); strings.Contains(text, password) {
			t.Errorf("airlock %q shows the password: %s", args, text)
		}
		return out.String()
	}
}
