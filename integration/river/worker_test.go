package river_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/goairlock/airlock/core"
	riverexec "github.com/goairlock/airlock/executors/river"
	"github.com/goairlock/airlock/worker"
)

// nativeArgs are arguments as a program without airlock has them, of raw's kind.
type nativeArgs struct {
	N int `json:"n"`
}

func (nativeArgs) Kind() string { return "test.raw" }

type envTest[TTx any] struct {
	name string
	run  func(*testEnv[TTx])
}

func workerTests[TTx any]() []envTest[TTx] {
	return []envTest[TTx]{
		{"a typed native worker works our jobs", nativeWorker[TTx]},
		{"a native insert feeds our handler with the client's limits", nativeInsert[TTx]},
		{"our workers work next to typed ones and never replace them", nextToTyped[TTx]},
		{"a handler's job has ID, queue, headers and attempts", jobFrom[TTx]},
		{"a permanent error cancels the job", permanent[TTx]},
		{"attempts are counted and the last one discards", attempts[TTx]},
		{"a backoff of milliseconds is kept", backoff[TTx]},
		{"a snooze costs no attempt", snooze[TTx]},
		{"an interruption costs no attempt, not even the last", interruption[TTx]},
		{"a job without timeout has none, also if the client has one", noTimeout[TTx]},
		{"a timeout ends the attempt", timeout[TTx]},
		{"nothing starts after its deadline", deadline[TTx]},
		{"a panic or Goexit fails the attempt and nothing else", panics[TTx]},
		{"a stuck job without timeout is rescued", rescued[TTx]},
		{"a leader without the kind discards a stuck job", rescuedByStranger[TTx]},
		{"a kind without worker is neither lost nor in the way", unknownTask[TTx]},
		{"an envelope of a later release is parked, also in the last attempt", laterEnvelope[TTx]},
		{"River's own errors keep their meaning", nativeErrors[TTx]},
		{"polling alone works jobs", pollOnly[TTx]},
	}
}

type nativeWorker1 struct {
	river.WorkerDefaults[nativeArgs]
	seen chan *river.Job[nativeArgs]
}

func (w *nativeWorker1) Work(_ context.Context, j *river.Job[nativeArgs]) error {
	w.seen <- j
	return nil
}

func (w *testEnv[TTx]) receive(seen chan *river.Job[nativeArgs]) *river.Job[nativeArgs] {
	w.Helper()
	select {
	case j := <-seen:
		return j
	case <-time.After(patience):
		w.Fatal("the native worker got no job")
		return nil
	}
}

func nativeWorker[TTx any](w *testEnv[TTx]) {
	native := &nativeWorker1{seen: make(chan *river.Job[nativeArgs], 1)}
	config := w.config(nil)
	river.AddWorker(config.Workers, native)
	w.work(config)
	w.send(w.intent(`{"n":7}`, core.Header("Trace", "t"), core.MaxAttempts(3)))
	if j := w.receive(native.seen); j.Args.N != 7 || j.MaxAttempts != 3 || !jsonHas(j.Metadata, "airlock") {
		w.Errorf("args %+v, max attempts %d, metadata %s", j.Args, j.MaxAttempts, j.Metadata)
	}
	w.awaitState(rivertype.JobStateCompleted)
}

func nativeInsert[TTx any](w *testEnv[TTx]) {
	limit := make(chan time.Duration, 1)
	w.handle(w.noting(func(ctx context.Context, _ worker.Job) error {
		end, _ := ctx.Deadline()
		limit <- time.Until(end)
		return nil
	}))
	res, err := w.client.Insert(w.Context(), nativeArgs{N: 8}, &river.InsertOpts{Metadata: []byte(`{"theirs":true}`)})
	must(w, err)
	r := w.await(1)[0]
	if !sameJSON(r.payload, `{"n":8}`) || r.job.ID != fmt.Sprint(res.Job.ID) || r.job.Attempt != 1 || r.job.MaxAttempts != 25 {
		w.Errorf("%+v", r)
	}
	if left := <-limit; left <= 0 || left > river.JobTimeoutDefault {
		w.Errorf("%v left, want the client's %v", left, river.JobTimeoutDefault)
	}
	w.awaitState(rivertype.JobStateCompleted)
}

func nextToTyped[TTx any](w *testEnv[TTx]) {
	native := &nativeWorker1{seen: make(chan *river.Job[nativeArgs], 1)}
	other := core.DeclareTask[[]byte]("test.other").Codec(core.Raw)
	config := w.config(w.registry(worker.Handle(other, w.note)))
	river.AddWorker(config.Workers, native)
	wantIs(w, riverexec.AddWorkers(config, w.registry(worker.Handle(raw, w.note)), nil), core.ErrInvalid)
	w.work(config)
	in, err := other.Intent([]byte(`"ours"`))
	must(w, err)
	w.send(in, w.intent(`{"n":1}`))
	w.receive(native.seen)
	if got := w.await(1)[0].payload; got != `"ours"` {
		w.Errorf("payload %s", got)
	}
}

func jobFrom[TTx any](w *testEnv[TTx]) {
	w.handle(w.note)
	in := w.intent(`1`, core.Header("A", "1"), core.Header("b", ""), core.MaxAttempts(4), core.ID("mine"))
	w.send(in)
	job := w.await(1)[0].job
	if job.ID != "mine" || job.Task != raw.Name() || job.Queue != "default" || job.Attempt != 1 || job.MaxAttempts != 4 ||
		job.Headers.Len() != 2 || job.Headers.Get("A") != "1" || !job.Headers.Has("b") {
		w.Errorf("%+v", job)
	}
}

func permanent[TTx any](w *testEnv[TTx]) {
	w.handle(w.noting(func(context.Context, worker.Job) error {
		return fmt.Errorf("outer: %w", worker.Permanent(errors.New("bad address")))
	}))
	w.send(w.intent("1"))
	row := w.awaitState(rivertype.JobStateCancelled)
	if len(row.Errors) != 1 || !strings.Contains(row.Errors[0].Error, "bad address") {
		w.Errorf("errors %+v", row.Errors)
	}
}

func attempts[TTx any](w *testEnv[TTx]) {
	w.handle(w.noting(func(context.Context, worker.Job) error { return errors.New("no luck") }))
	w.send(w.intent("1", core.MaxAttempts(3), core.Backoff(core.Fixed(time.Millisecond))))
	w.awaitState(rivertype.JobStateDiscarded)
	runs := w.await(3)
	for i, r := range runs {
		if r.job.Attempt != i+1 || r.job.MaxAttempts != 3 || len(runs) != 3 {
			w.Errorf("run %d of %d is attempt %d of %d", i+1, len(runs), r.job.Attempt, r.job.MaxAttempts)
		}
	}
}

func backoff[TTx any](w *testEnv[TTx]) {
	w.handle(w.noting(func(context.Context, worker.Job) error { return errors.New("no luck") }))
	w.send(w.intent("1", core.MaxAttempts(3), core.Backoff(core.Exponential(150*time.Millisecond, time.Second))))
	runs := w.await(3)
	for i, least := range []time.Duration{150 * time.Millisecond, 300 * time.Millisecond} {
		if gap := runs[i+1].began.Sub(runs[i].began); gap < least {
			w.Errorf("the wait after attempt %d was %v, want at least %v", i+1, gap, least)
		}
	}
}

func snooze[TTx any](w *testEnv[TTx]) {
	left := 3
	w.handle(w.noting(func(context.Context, worker.Job) error {
		if left--; left >= 0 {
			return worker.Snooze(10 * time.Millisecond)
		}
		return nil
	}))
	w.send(w.intent("1", core.MaxAttempts(1)))
	row := w.awaitState(rivertype.JobStateCompleted)
	runs := w.await(4)
	if len(runs) != 4 || runs[3].job.Attempt != 1 || row.Attempt != 1 {
		w.Errorf("%d runs, the last as attempt %d", len(runs), runs[len(runs)-1].job.Attempt)
	}
}

func interruption[TTx any](w *testEnv[TTx]) {
	client := w.handle(w.noting(func(ctx context.Context, _ worker.Job) error {
		<-ctx.Done()
		return errors.New("the database driver's own words")
	}))
	w.send(w.intent("1", core.MaxAttempts(1)))
	w.await(1)
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	must(w, client.StopAndCancel(ctx))
	if row := w.awaitState(rivertype.JobStateAvailable); row.Attempt != 0 {
		w.Errorf("attempt %d, want it given back", row.Attempt)
	}
	w.handle(w.note)
	if runs := w.await(2); runs[1].job.Attempt != 1 {
		w.Errorf("the next run is attempt %d, want 1", runs[1].job.Attempt)
	}
	w.awaitState(rivertype.JobStateCompleted)
}

func noTimeout[TTx any](w *testEnv[TTx]) {
	limited := make(chan bool, 1)
	w.handle(w.noting(func(ctx context.Context, _ worker.Job) error {
		_, ok := ctx.Deadline()
		limited <- ok
		return nil
	}))
	w.send(w.intent("1"))
	w.await(1)
	if <-limited {
		w.Error("the context has a deadline")
	}
}

func timeout[TTx any](w *testEnv[TTx]) {
	w.handle(w.noting(func(ctx context.Context, _ worker.Job) error {
		<-ctx.Done()
		return context.Cause(ctx)
	}))
	w.send(w.intent("1", core.Timeout(30*time.Millisecond), core.MaxAttempts(1)))
	row := w.awaitState(rivertype.JobStateDiscarded)
	if len(row.Errors) != 1 || !strings.Contains(row.Errors[0].Error, context.DeadlineExceeded.Error()) {
		w.Errorf("errors %+v", row.Errors)
	}
}

func deadline[TTx any](w *testEnv[TTx]) {
	end := time.Now().Add(100 * time.Millisecond)
	w.send(w.intent("1", core.Deadline(end)))
	<-time.After(time.Until(end))
	w.handle(w.note)
	row := w.awaitState(rivertype.JobStateCancelled)
	if len(w.await(0)) != 0 || !strings.Contains(row.Errors[0].Error, "deadline") {
		w.Errorf("%d runs, errors %+v", len(w.await(0)), row.Errors)
	}
}

func panics[TTx any](w *testEnv[TTx]) {
	config := w.config(w.registry(worker.Handle(raw, w.noting(func(_ context.Context, job worker.Job) error {
		switch job.Headers.Get("How") {
		case "panic":
			panic("kaboom")
		case "goexit":
			runtime.Goexit()
		}
		return nil
	}))))
	config.Queues = map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 1}}
	w.work(config)
	w.send(w.intent("1", core.Header("How", "panic"), core.MaxAttempts(1)), w.intent("2", core.Header("How", "goexit"), core.MaxAttempts(1)),
		w.intent("3"))
	w.await(3)
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		rows := w.wantRows(3)
		if rows[2].State == rivertype.JobStateCompleted {
			if rows[0].State != rivertype.JobStateDiscarded || rows[1].State != rivertype.JobStateDiscarded ||
				!strings.Contains(rows[0].Errors[0].Error, "kaboom") || !strings.Contains(rows[0].Errors[0].Error, "worker_test.go") {
				w.Error(w.describe())
			}
			return
		}
		if time.Now().After(end) {
			w.Fatal(w.describe())
		}
	}
}

// stick makes the stored jobs look like those of a worker that crashed.
func unknownTask[TTx any](w *testEnv[TTx]) {
	stranger, err := core.DeclareTask[int]("test.stranger").Intent(1, core.MaxAttempts(1))
	must(w, err)
	config := w.config(w.registry(worker.Handle(raw, w.note)))
	config.Queues = map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 1}}
	w.send(stranger, w.intent("1"))
	w.work(config)
	w.await(1)
	if row := w.wantRows(2)[0]; row.State != rivertype.JobStateAvailable || row.Attempt != 0 {
		w.Errorf("the job nobody knows is %s after attempt %d", row.State, row.Attempt)
	}
}

func laterEnvelope[TTx any](w *testEnv[TTx]) {
	_, err := w.client.Insert(w.Context(), nativeArgs{N: 1}, &river.InsertOpts{Metadata: []byte(`{"airlock":{"v":99}}`), MaxAttempts: 1})
	must(w, err)
	w.handle(w.note)
	row := w.awaitState(rivertype.JobStateScheduled)
	if len(w.await(0)) != 0 || row.Attempt != 0 || len(row.Errors) != 0 || time.Until(row.ScheduledAt) < 30*time.Second {
		w.Errorf("%d runs, attempt %d, errors %+v, again at %v", len(w.await(0)), row.Attempt, row.Errors, row.ScheduledAt)
	}
}

func nativeErrors[TTx any](w *testEnv[TTx]) {
	w.handle(w.noting(func(_ context.Context, job worker.Job) error {
		return fmt.Errorf("wrapped: %w", river.JobCancel(errors.New("native")))
	}))
	w.send(w.intent("1"))
	w.awaitState(rivertype.JobStateCancelled)
}

func pollOnly[TTx any](w *testEnv[TTx]) {
	config := w.config(w.registry(worker.Handle(raw, w.note)))
	config.PollOnly = true
	w.work(config)
	w.send(w.intent("1"), w.intent("2"))
	w.await(2)
}
