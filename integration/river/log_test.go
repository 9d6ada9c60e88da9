package river_test

import (
	"context"
	"errors"
	"regexp"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/goairlock/airlock/core"
	riverexec "github.com/goairlock/airlock/executors/river"
	"github.com/goairlock/airlock/worker"
)

// typedArgs are those of a native worker.
type typedArgs struct{}

func (typedArgs) Kind() string { return "test.typed" }

// aboveDebug are the lines that an operator sees, without those of a start or stop.
var aboveDebug = regexp.MustCompile(`(?m)^time=\S+ level=(?:INFO|WARN|ERROR) msg="?((?:airlock:|[\w.]+: [Jj]ob )[^"]*)"?.*$`)

// oneLine has runs that fail in every way, and one of a native worker whose line is
// River's.
func oneLine[TTx any](w *testEnv[TTx]) {
	log, lines := newJournal()
	seen := new(observed)
	errMiddleware := errors.New("no middleware")
	config := river.Config{Workers: river.NewWorkers(), Middleware: []rivertype.Middleware{river.WorkerMiddlewareFunc(
		func(ctx context.Context, row *rivertype.JobRow, next func(context.Context) error) error {
			if row.Priority == 4 {
				return errMiddleware
			}
			err := next(ctx)
			if row.Priority == 3 {
				return errMiddleware
			}
			return err
		})}}
	river.AddWorker(config.Workers, river.WorkFunc(func(context.Context, *river.Job[typedArgs]) error { return errors.New("typed") }))
	reg := w.registry(worker.Handle(raw, w.noting(func(_ context.Context, job worker.Job) error {
		switch job.Headers.Get("Answer") {
		case "fails":
			return errors.New("no luck")
		case "panics":
			panic("no luck")
		}
		return nil
	})), seen.observer())
	w.run(reg, &riverexec.WorkerOptions{Logger: log, Config: config})
	native := func(priority int) core.Option {
		return riverexec.Native(func(o *river.InsertOpts) { o.Priority = priority })
	}
	once := core.MaxAttempts(1)
	for i, c := range []struct {
		opts  []core.Option
		lines map[string]int
	}{
		{[]core.Option{once}, nil},
		{[]core.Option{once, core.Header("Answer", "fails")}, map[string]int{"airlock: job dead": 1}},
		{[]core.Option{once, core.Header("Answer", "panics")}, map[string]int{"airlock: job dead": 1}},
		{[]core.Option{core.MaxAttempts(2), core.Backoff(core.Fixed(1)), core.Header("Answer", "fails")},
			map[string]int{"airlock: attempt failed": 1, "airlock: job dead": 1}},
		{[]core.Option{once, native(4)}, map[string]int{"airlock: job dead": 1}}, // the handler is not called
		{[]core.Option{once, native(3)}, map[string]int{"airlock: job dead": 1}}, // it has succeeded
	} {
		w.send(w.intent("1", c.opts...))
		w.wantLines(lines, i+1, c.lines)
	}
	_, err := w.client.Insert(w.Context(), typedArgs{}, &river.InsertOpts{MaxAttempts: 1})
	must(w, err)
	w.wantLines(lines, 7, map[string]int{"jobexecutor.JobExecutor: Job errored": 1})
	if n := seen.count(raw.Name(), worker.Dead); n != 5 {
		w.Errorf("%d are reported as dead: %+v", n, seen.runs)
	}
}

// wantLines waits until n jobs have ended and compares the new lines above Debug.
func (w *testEnv[TTx]) wantLines(lines *journal, n int, want map[string]int) {
	w.Helper()
	w.until("the job has ended", func() bool { return len(w.rows()) == n && w.lastRow().FinalizedAt != nil })
	got := map[string]int{}
	for _, m := range aboveDebug.FindAllStringSubmatch(lines.take(), -1) {
		got[m[1]]++
	}
	for message, count := range want {
		if got[message] != count {
			w.Errorf("job %d: lines %v, want %v", n, got, want)
		}
		delete(got, message)
	}
	if len(got) > 0 {
		w.Errorf("job %d: more lines than wanted: %v", n, got)
	}
}
