package river_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/goairlock/airlock/core"
	riverexec "github.com/goairlock/airlock/executors/river"
	"github.com/goairlock/airlock/worker"
)

// runTests are about a Worker.
func runTests[TTx any]() []envTest[TTx] {
	return []envTest[TTx]{
		{"a worker runs once and leaves nothing undone", runs[TTx]},
		{"a job has River's row", nativeRow[TTx]},
		{"unset priorities do not hold up a job of priority 9", priority9[TTx]},
		{"a job that runs is put back when the worker stops", putBack[TTx]},
		{"a handler that ignores the end is reported", ignoresTheEnd[TTx]},
		{"a task without a handler waits for a worker that has one", parkedTask[TTx]},
		{"a leader without the handler puts a stuck job back", stuckStranger[TTx]},
		{"a job whose last worker was lost is dead with a reason", lastWorkerLost[TTx]},
		{"damaged metadata do not stop the rescue of others", damagedStuck[TTx]},
		{"a long job is not taken from a worker that is alive", longJob[TTx]},
		{"a worker that has lost its job decides nothing", staleOwner[TTx]},
		{"an answer after the time is up counts", lateAnswers[TTx]},
		{"CompleteTx commits the job with the handler's data", completeTx[TTx]},
		{"CompleteTx of a worker that has lost its job fails", staleCompleteTx[TTx]},
		{"hostile jobs do not stop a worker of fewer slots", hostileJobs[TTx]},
		{"an error that jsonb refuses stops nothing", hostileError[TTx]},
		{"an operator's cancellation cancels", remoteCancel[TTx]},
		{"each run is one line of the log", oneLine[TTx]},
	}
}

// until waits until cond holds.
func (w *testEnv[TTx]) until(what string, cond func() bool) {
	w.Helper()
	for end := time.Now().Add(patience); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("never: %s; stored: %s", what, w.describe())
		}
	}
}

// eager is the Config of a client that rescues soon.
func runs[TTx any](w *testEnv[TTx]) {
	reg := w.registry(worker.Handle(raw, w.note))
	running, err := riverexec.NewWorker(w.store.driver, reg, &riverexec.WorkerOptions{Logger: quiet, Config: river.Config{TestOnly: true}})
	must(w, err)
	ctx, cancel := context.WithCancel(w.Context())
	ended := make(chan error, 1)
	go func() { ended <- running.Run(ctx) }()
	var intents []core.Intent
	for i := range 50 {
		intents = append(intents, w.intent(fmt.Sprint(i)))
	}
	w.send(intents...)
	w.await(50)
	wantIs(w, running.Run(ctx), core.ErrInvalid)
	cancel()
	must(w, <-ended)
	for _, r := range w.rows() {
		if r.State != rivertype.JobStateCompleted {
			w.Errorf("job %d is %s", r.ID, r.State)
		}
	}
	// A context that has ended, and a registry without tasks.
	idle, err := riverexec.NewWorker(w.store.driver, w.registry(), &riverexec.WorkerOptions{Logger: quiet})
	must(w, err)
	must(w, idle.Run(ctx))
}

func nativeRow[TTx any](w *testEnv[TTx]) {
	w.run(w.registry(worker.Handle(raw, w.noting(func(_ context.Context, job worker.Job) error {
		if row, ok := job.Native.(*rivertype.JobRow); !ok || row.Kind != raw.Name() || row.Priority != 2 {
			return worker.Permanent(fmt.Errorf("native is %T", job.Native))
		}
		return nil
	}))), nil)
	w.send(w.intent("1"))
	w.awaitState(rivertype.JobStateCompleted)
}

func priority9[TTx any](w *testEnv[TTx]) {
	var intents []core.Intent
	for range 200 {
		intents = append(intents, w.intent(`"unset"`))
	}
	w.send(intents...)
	w.send(w.intent(`"urgent"`, core.Priority(9)))
	w.run(w.registry(worker.Handle(raw, w.note)), &riverexec.WorkerOptions{Concurrency: 1})
	if first := w.await(1)[0].payload; first != `"urgent"` {
		w.Errorf("first ran %s", first)
	}
}

func putBack[TTx any](w *testEnv[TTx]) {
	log, lines := newJournal()
	cause := make(chan error, 1)
	stop := w.run(w.registry(worker.Handle(raw, w.noting(func(ctx context.Context, _ worker.Job) error {
		<-ctx.Done()
		cause <- context.Cause(ctx)
		return errors.New("the driver's own words")
	}))), &riverexec.WorkerOptions{Logger: log})
	w.send(w.intent("1", core.MaxAttempts(1)))
	w.await(1)
	must(w, stop())
	wantIs(w, <-cause, worker.ErrStopping)
	if row := w.wantRows(1)[0]; row.State != rivertype.JobStateAvailable || row.Attempt != 0 {
		w.Errorf("the job is %s after attempt %d", row.State, row.Attempt)
	}
	if lines.count("airlock: job put back") != 1 {
		w.Errorf("log: %v", lines)
	}
	w.run(w.registry(worker.Handle(raw, w.note)), nil)
	if again := w.await(2)[1].job; again.Attempt != 1 {
		w.Errorf("the next run is attempt %d", again.Attempt)
	}
	w.awaitState(rivertype.JobStateCompleted)
}

func ignoresTheEnd[TTx any](w *testEnv[TTx]) {
	release := make(chan struct{})
	stop := w.run(w.registry(worker.Handle(raw, w.noting(func(context.Context, worker.Job) error {
		<-release
		return worker.Permanent(errors.New("too late"))
	}))), nil)
	in := w.intent("1")
	w.send(in)
	w.await(1)
	err := stop()
	var drain *worker.DrainError
	if !errors.As(err, &drain) || len(drain.Jobs) != 1 || drain.Jobs[0].ID != in.ID {
		w.Errorf("%v", err)
	}
	close(release)
	if row := w.wantRows(1)[0]; row.State != rivertype.JobStateRunning {
		w.Errorf("the job is %s, want running until it is rescued", row.State)
	}
}

// observed collects what an observer is given.
type observed struct {
	mu   sync.Mutex
	runs []worker.Run // guarded by mu
}

func (o *observed) observer() worker.Observer {
	return func(_ context.Context, run worker.Run) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.runs = append(o.runs, run)
	}
}

func (o *observed) count(task string, action worker.Action) (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, run := range o.runs {
		if run.Delivery.Task == task && run.Verdict.Action == action {
			n++
		}
	}
	return n
}

var stranger = core.DeclareTask[[]byte]("test.stranger").Codec(core.Raw)

func (w *testEnv[TTx]) stranger(opts ...core.Option) core.Intent {
	w.Helper()
	in, err := stranger.Intent([]byte(`"strange"`), opts...)
	must(w, err)
	return in
}

func parkedTask[TTx any](w *testEnv[TTx]) {
	log, lines := newJournal()
	seen := new(observed)
	_, err := w.client.Insert(w.Context(), anyArgs{"test.foreign", []byte("{}")}, nil) // another program's
	must(w, err)
	w.send(w.stranger(core.MaxAttempts(1)), w.intent("1"))
	w.run(w.registry(worker.Handle(raw, w.note), seen.observer()), &riverexec.WorkerOptions{Logger: log, Concurrency: 1, ParkFor: 50 * time.Millisecond})
	w.await(1)
	w.until("the job is reported as parked, again and again", func() bool { return seen.count(stranger.Name(), worker.Parked) > 1 })
	if lines.count("level=WARN msg=\"airlock: job parked\" task=test.stranger") == 0 || seen.count(raw.Name(), worker.Parked) > 0 ||
		lines.count("test.foreign") > 0 || seen.count("test.foreign", worker.Parked) > 0 {
		w.Errorf("log: %v", lines)
	}
	w.run(w.registry(worker.Handle(stranger, w.note)), nil)
	if job := w.await(2)[1].job; job.Task != stranger.Name() || job.Attempt != 1 {
		w.Errorf("%+v", job)
	}
}

// longJob has a first worker that is no leader, and starts a leader once the job is older than RescueStuckJobsAfter:
// rescuers look when they start.
// staleOwner gives the job to a second worker while the first one, which seems frozen, has it.
// wrapErrors is a middleware of a program's own.
func lateAnswers[TTx any](w *testEnv[TTx]) {
	late := func(answer error) func(context.Context) error {
		return func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(1500 * time.Millisecond) // River's own limit has passed too
			return answer
		}
	}
	answers := map[string]func(context.Context) error{
		"done": late(nil), "permanent": late(worker.Permanent(errors.New("no"))), "snooze": late(worker.Snooze(time.Hour)), "fails": late(errors.New("no luck")),
	}
	reg := w.registry(worker.Handle(raw, w.noting(func(ctx context.Context, job worker.Job) error { return answers[job.Headers.Get("Answer")](ctx) })),
		worker.Handle(stranger, w.noting(func(ctx context.Context, _ worker.Job) error { return answers["fails"](ctx) })))
	w.run(reg, &riverexec.WorkerOptions{Config: river.Config{JobTimeout: 20 * time.Millisecond}})
	limit := core.Timeout(20 * time.Millisecond)
	w.send(w.intent("1", limit, core.Header("Answer", "done")), w.intent("2", limit, core.Header("Answer", "permanent")),
		w.intent("3", limit, core.Header("Answer", "snooze")), w.intent("4", limit, core.MaxAttempts(1), core.Header("Answer", "fails")))
	_, err := w.client.Insert(w.Context(), strangeArgs{}, &river.InsertOpts{MaxAttempts: 1}) // with the client's JobTimeout
	must(w, err)
	want := []rivertype.JobState{rivertype.JobStateCompleted, rivertype.JobStateCancelled, rivertype.JobStateScheduled,
		rivertype.JobStateDiscarded, rivertype.JobStateDiscarded}
	w.until("all have their answers", func() bool {
		for _, row := range w.wantRows(5) {
			if row.State == rivertype.JobStateRunning || row.State == rivertype.JobStateAvailable {
				return false
			}
		}
		return true
	})
	for i, row := range w.wantRows(5) {
		if row.State != want[i] {
			w.Errorf("job %d is %s, want %s", i, row.State, want[i])
		}
	}
	if len(w.await(0)) != 5 {
		w.Errorf("%d runs of 5 jobs", len(w.await(0)))
	}
}

type strangeArgs struct{}

func (strangeArgs) Kind() string { return stranger.Name() }

// completing is a handler that stores an order and completes its job in one transaction.
// hostile are metadata of jobs that nobody of ours has written.
func remoteCancel[TTx any](w *testEnv[TTx]) {
	for _, most := range []int{1, 3} {
		cause := make(chan error, 1)
		log, lines := newJournal()
		seen := new(observed)
		stop := w.run(w.registry(worker.Handle(raw, w.noting(func(ctx context.Context, _ worker.Job) error {
			<-ctx.Done()
			cause <- context.Cause(ctx)
			return errors.New("no luck")
		})), seen.observer()), &riverexec.WorkerOptions{Logger: log})
		w.send(w.intent("1", core.MaxAttempts(most)))
		w.until("the job runs", func() bool { return w.lastRow().State == rivertype.JobStateRunning })
		_, err := w.client.JobCancel(w.Context(), w.lastRow().ID)
		must(w, err)
		if err := <-cause; err != worker.ErrCanceled {
			w.Errorf("the cause is %v", err)
		}
		w.until("the job is cancelled", func() bool { return w.lastRow().State == rivertype.JobStateCancelled })
		must(w, stop())
		if seen.count(raw.Name(), worker.Interrupted) != 0 || seen.count(raw.Name(), worker.Retry) != min(most-1, 1) || seen.count(raw.Name(), worker.Dead) != 1 {
			w.Errorf("with %d attempts: %+v", most, seen.runs)
		}
		if lines.count("msg=\"airlock: job dead\"") != 1 || lines.count("error=\""+worker.ErrCanceled.Error()) != 1 || lines.count("airlock: ") < 2 {
			w.Errorf("log: %s", lines)
		}
	}
}

// lastRow is the job that was stored last.
func (w *testEnv[TTx]) lastRow() *rivertype.JobRow {
	w.Helper()
	rows := w.rows()
	return rows[len(rows)-1]
}

func handleRaw(fn func(context.Context, []byte) error) worker.Part { return worker.Handle(raw, fn) }

// quickConfig is a client's with short polls.
func quickConfig() river.Config {
	return river.Config{TestOnly: true, FetchCooldown: 5 * time.Millisecond, FetchPollInterval: 20 * time.Millisecond}
}
