package river_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	_ "modernc.org/sqlite"

	"github.com/goairlock/airlock/core"
	riverexec "github.com/goairlock/airlock/executors/river"
	"github.com/goairlock/airlock/worker"
)

// patience bounds every wait for something that must happen; a green run never
// uses it up.
const patience = 2 * time.Minute

// store is a migrated database of its own for one test.
// sqliteWith opens a file with the named database/sql driver.
// testEnv is a client that only inserts, an executor on it, and what workers ran.
type testEnv[TTx any] struct {
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
	job     worker.Job
	payload string
	began   time.Time
}

func setup[TTx any](t *testing.T, s store[TTx], opts *riverexec.Options) *testEnv[TTx] {
	t.Helper()
	config := &river.Config{Logger: quiet}
	must(t, riverexec.ConfigureClient(config))
	client, err := river.NewClient(s.driver, config)
	must(t, err)
	exec, err := riverexec.New(client, opts)
	must(t, err)
	return &testEnv[TTx]{T: t, store: s, client: client, exec: exec, changed: make(chan struct{})}
}

// note is a handler of raw payloads that records its run.
func (w *testEnv[TTx]) note(ctx context.Context, payload []byte) error {
	job, _ := worker.JobFrom(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.runs = append(w.runs, run{job, string(payload), time.Now()})
	close(w.changed)
	w.changed = make(chan struct{})
	return nil
}

// noting is note with an answer of its own.
func (w *testEnv[TTx]) noting(answer func(ctx context.Context, job worker.Job) error) func(context.Context, []byte) error {
	return func(ctx context.Context, payload []byte) error {
		_ = w.note(ctx, payload)
		job, _ := worker.JobFrom(ctx)
		return answer(ctx, job)
	}
}

var raw = core.DeclareTask[[]byte]("test.raw").Codec(core.Raw)

// config is a worker's, with short polls.
func (w *testEnv[TTx]) config(reg *worker.Registry) *river.Config {
	w.Helper()
	config := &river.Config{
		Logger: quiet, TestOnly: true, Workers: river.NewWorkers(),
		Queues:        map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 4}},
		FetchCooldown: 5 * time.Millisecond, FetchPollInterval: 20 * time.Millisecond,
	}
	if reg != nil {
		must(w, riverexec.AddWorkers(config, reg, nil))
	}
	return config
}

func (w *testEnv[TTx]) registry(handlers ...worker.Part) *worker.Registry {
	w.Helper()
	reg, err := worker.NewRegistry(handlers...)
	must(w, err)
	return reg
}

// work starts a worker, to be stopped with the test.
func (w *testEnv[TTx]) work(config *river.Config) *river.Client[TTx] {
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
func (w *testEnv[TTx]) handle(fn func(context.Context, []byte) error) *river.Client[TTx] {
	w.Helper()
	return w.work(w.config(w.registry(worker.Handle(raw, fn))))
}

// run starts a Worker, to be stopped with the test or before. Polls are short.
func (w *testEnv[TTx]) run(reg *worker.Registry, opts *riverexec.WorkerOptions) (stop func() error) {
	w.Helper()
	if opts == nil {
		opts = &riverexec.WorkerOptions{}
	}
	o := *opts
	o.Config.TestOnly, o.Config.FetchCooldown, o.Config.FetchPollInterval = true, 5*time.Millisecond, 20*time.Millisecond
	if o.Logger == nil {
		o.Logger = quiet
	}
	if o.DrainTimeout == 0 {
		o.DrainTimeout = -1
	}
	running, err := riverexec.NewWorker(w.store.driver, reg, &o)
	must(w, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- running.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(patience):
			return errors.New("Run does not return")
		}
	})
	w.Cleanup(func() { _ = stop() })
	return stop
}

// update changes stored jobs as another program would.
func (w *testEnv[TTx]) update(set string) {
	w.Helper()
	tx, err := w.store.begin(w.Context())
	must(w, err)
	must(w, w.store.exec(w.Context(), tx, "UPDATE river_job SET "+set))
	must(w, w.store.commit(w.Context(), tx))
}

func (w *testEnv[TTx]) intent(payload string, opts ...core.Option) core.Intent {
	w.Helper()
	in, err := raw.Intent([]byte(payload), opts...)
	must(w, err)
	return in
}

func (w *testEnv[TTx]) send(intents ...core.Intent) {
	w.Helper()
	must(w, w.exec.Execute(w.Context(), intents...))
}

// states are the outcomes of a call.
func (w *testEnv[TTx]) states(exec core.Executor, intents ...core.Intent) []core.State {
	w.Helper()
	var states []core.State
	for _, o := range core.OutcomesOf(exec(w.Context(), intents...), intents) {
		states = append(states, o.State)
	}
	return states
}

func (w *testEnv[TTx]) wantStates(got []core.State, want ...core.State) {
	w.Helper()
	if !slices.Equal(got, want) {
		w.Errorf("outcomes %v, want %v", got, want)
	}
}

// rows are the jobs as River has them, by row ID.
func (w *testEnv[TTx]) rows() []*rivertype.JobRow {
	w.Helper()
	res, err := w.client.JobList(w.Context(), river.NewJobListParams().First(10_000).
		OrderBy(river.JobListOrderByID, river.SortOrderAsc))
	must(w, err)
	return res.Jobs
}

func (w *testEnv[TTx]) wantRows(n int) []*rivertype.JobRow {
	w.Helper()
	rows := w.rows()
	if len(rows) != n {
		w.Fatalf("%d jobs are stored, want %d", len(rows), n)
	}
	return rows
}

// await waits until there are n runs and returns all there are.
func (w *testEnv[TTx]) await(n int) []run {
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

func (w *testEnv[TTx]) describe() string {
	text := ""
	for _, r := range w.rows() {
		text += fmt.Sprintf("\n%d %s %s attempt %d of %d", r.ID, r.Kind, r.State, r.Attempt, r.MaxAttempts)
		for _, e := range r.Errors {
			text += ": " + e.Error
		}
	}
	return text
}

// awaitState waits until the only job of the database is in a state.
func (w *testEnv[TTx]) awaitState(want rivertype.JobState) *rivertype.JobRow {
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
