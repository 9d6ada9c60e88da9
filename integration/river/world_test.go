package river_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"
	_ "modernc.org/sqlite"

	"github.com/goairlock/airlock/core"
	riverexec "github.com/goairlock/airlock/executors/river"
)

// patience bounds every wait for something that must happen; a green run never
// uses it up.
const patience = 2 * time.Minute

// store is a migrated database of its own for one test.
type store[TTx any] struct {
	driver   riverdriver.Driver[TTx]
	poolless riverdriver.Driver[TTx]
	schema   string // of River's tables, "" for the database's own
	begin    func(ctx context.Context) (TTx, error)
	commit   func(ctx context.Context, tx TTx) error
	rollback func(ctx context.Context, tx TTx) error
	exec     func(ctx context.Context, tx TTx, statement string) error // in a transaction
	number   func(ctx context.Context, query string) (int, error)
	postgres bool

	// For servers: where it is, and a driver that reaches it at another address.
	addr string
	at   func(t testing.TB, addr string) riverdriver.Driver[TTx]
	// For the conformance suite: kill cuts every connection for good, as the end of the process does, and reopen is the
	// same database anew, with jobs that a killed worker has left.
	kill   func() error
	reopen func(testing.TB) store[TTx]
	orphan bool
}

func migrate[TTx any](t testing.TB, driver riverdriver.Driver[TTx], schema string) {
	t.Helper()
	m, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: quiet, Schema: schema})
	must(t, err)
	_, err = m.Migrate(context.Background(), rivermigrate.DirectionUp, nil)
	must(t, err)
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func openSQLite(t testing.TB) store[*sql.Tx] {
	t.Helper()
	return sqliteFile(t, filepath.Join(t.TempDir(), "river.db"))
}

func sqliteFile(t testing.TB, file string) store[*sql.Tx] {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=busy_timeout(10000)")
	must(t, err)
	db.SetMaxOpenConns(1) // River demands it of SQLite
	t.Cleanup(func() { _ = db.Close() })
	driver := riversqlite.New(db)
	migrate(t, driver, "")
	return store[*sql.Tx]{
		driver:   driver,
		poolless: riversqlite.New(nil),
		begin:    func(ctx context.Context) (*sql.Tx, error) { return db.BeginTx(ctx, nil) },
		commit:   func(_ context.Context, tx *sql.Tx) error { return tx.Commit() },
		rollback: func(_ context.Context, tx *sql.Tx) error { return tx.Rollback() },
		exec: func(ctx context.Context, tx *sql.Tx, statement string) error {
			_, err := tx.ExecContext(ctx, statement)
			return err
		},
		number: func(ctx context.Context, query string) (n int, err error) {
			return n, db.QueryRowContext(ctx, query).Scan(&n)
		},
		kill: db.Close,
		reopen: func(t testing.TB) store[*sql.Tx] {
			again := sqliteFile(t, file)
			again.orphan = true
			return again
		},
	}
}

// world is a client that only inserts, an executor on it, and what workers ran.
type world[TTx any] struct {
	*testing.T
	store  store[TTx]
	client *river.Client[TTx]
	exec   *riverexec.Executor[TTx]

	mu      sync.Mutex
	runs    []run         // guarded by mu
	changed chan struct{} // closed and replaced at each run; guarded by mu
}

// run is one call of a handler.
type run struct {
	job     core.Job
	payload string
	began   time.Time
}

func setup[TTx any](t *testing.T, s store[TTx], opts *riverexec.Options) *world[TTx] {
	t.Helper()
	config := &river.Config{Logger: quiet}
	must(t, riverexec.Configure(config))
	client, err := river.NewClient(s.driver, config)
	must(t, err)
	exec, err := riverexec.New(client, opts)
	must(t, err)
	return &world[TTx]{T: t, store: s, client: client, exec: exec, changed: make(chan struct{})}
}

// note is a handler of raw payloads that records its run.
func (w *world[TTx]) note(ctx context.Context, payload []byte) error {
	job, _ := core.JobFrom(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.runs = append(w.runs, run{job, string(payload), time.Now()})
	close(w.changed)
	w.changed = make(chan struct{})
	return nil
}

// noting is note with an answer of its own.
func (w *world[TTx]) noting(answer func(ctx context.Context, job core.Job) error) func(context.Context, []byte) error {
	return func(ctx context.Context, payload []byte) error {
		_ = w.note(ctx, payload)
		job, _ := core.JobFrom(ctx)
		return answer(ctx, job)
	}
}

var raw = core.DeclareTask[[]byte]("test.raw").Codec(core.Raw)

// config is a worker's, with short polls.
func (w *world[TTx]) config(reg *core.Registry) *river.Config {
	w.Helper()
	workers := river.NewWorkers()
	if reg != nil {
		must(w, riverexec.AddWorkers(workers, reg))
	}
	return &river.Config{
		Logger: quiet, TestOnly: true, Workers: workers,
		Queues:        map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 4}},
		FetchCooldown: 5 * time.Millisecond, FetchPollInterval: 20 * time.Millisecond,
	}
}

func (w *world[TTx]) registry(handlers ...core.Handler) *core.Registry {
	w.Helper()
	reg, err := core.NewRegistry(handlers...)
	must(w, err)
	return reg
}

// work starts a worker, to be stopped with the test.
func (w *world[TTx]) work(config *river.Config) *river.Client[TTx] {
	w.Helper()
	client, err := river.NewClient(w.store.driver, config)
	must(w, err)
	must(w, client.Start(context.WithoutCancel(w.Context())))
	w.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = client.StopAndCancel(ctx)
	})
	return client
}

// handle starts a worker for raw with this handler.
func (w *world[TTx]) handle(fn func(context.Context, []byte) error) *river.Client[TTx] {
	w.Helper()
	return w.work(w.config(w.registry(core.Handle(raw, fn))))
}

func (w *world[TTx]) intent(payload string, opts ...core.Option) core.Intent {
	w.Helper()
	in, err := raw.Intent([]byte(payload), opts...)
	must(w, err)
	return in
}

func (w *world[TTx]) send(intents ...core.Intent) {
	w.Helper()
	must(w, w.exec.Execute(w.Context(), intents...))
}

// states are the outcomes of a call.
func (w *world[TTx]) states(exec core.Executor, intents ...core.Intent) []core.State {
	w.Helper()
	var states []core.State
	for _, o := range core.OutcomesOf(exec(w.Context(), intents...), intents) {
		states = append(states, o.State)
	}
	return states
}

func (w *world[TTx]) wantStates(got []core.State, want ...core.State) {
	w.Helper()
	if !slices.Equal(got, want) {
		w.Errorf("outcomes %v, want %v", got, want)
	}
}

// rows are the jobs as River has them, by row ID.
func (w *world[TTx]) rows() []*rivertype.JobRow {
	w.Helper()
	res, err := w.client.JobList(w.Context(), river.NewJobListParams().First(10_000).
		OrderBy(river.JobListOrderByID, river.SortOrderAsc))
	must(w, err)
	return res.Jobs
}

func (w *world[TTx]) wantRows(n int) []*rivertype.JobRow {
	w.Helper()
	rows := w.rows()
	if len(rows) != n {
		w.Fatalf("%d jobs are stored, want %d", len(rows), n)
	}
	return rows
}

// await waits until there are n runs and returns all there are.
func (w *world[TTx]) await(n int) []run {
	w.Helper()
	deadline := time.After(patience)
	for {
		w.mu.Lock()
		runs, changed := slices.Clone(w.runs), w.changed
		w.mu.Unlock()
		if len(runs) >= n {
			return runs
		}
		select {
		case <-changed:
		case <-deadline:
			w.Fatalf("%d runs, want %d; stored: %s", len(runs), n, w.describe())
		}
	}
}

func (w *world[TTx]) describe() string {
	text := ""
	for _, r := range w.rows() {
		text += fmt.Sprintf("\n%d %s %s attempt %d of %d", r.ID, r.Kind, r.State, r.Attempt, r.MaxAttempts)
		for _, e := range r.Errors {
			text += ": " + e.Error
		}
	}
	return text
}

// awaitState waits until the only job of the world is in a state.
func (w *world[TTx]) awaitState(want rivertype.JobState) *rivertype.JobRow {
	w.Helper()
	for end := time.Now().Add(patience); ; {
		rows := w.wantRows(1)
		if rows[0].State == want {
			return rows[0]
		}
		if time.Now().After(end) {
			w.Fatalf("the job is not %s: %s", want, w.describe())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantIs(t testing.TB, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("error %v, want one that is %v", err, target)
	}
}

func withWorkers(n int) river.QueueConfig { return river.QueueConfig{MaxWorkers: n} }
