package riverexec

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// arguments are the arguments of any job, undecoded: Perform decodes them.
type arguments struct{ kind string }

func (a arguments) Kind() string                { return a.kind }
func (a *arguments) UnmarshalJSON([]byte) error { return nil }

// jobWorker works the jobs of every task of a registry. It is River's Worker.
type jobWorker struct {
	registry    *worker.Registry
	queues      adapter.QueueNames
	parkFor     time.Duration
	logger      *slog.Logger
	rescueAfter time.Duration   // the client's RescueStuckJobsAfter
	tasks       map[string]bool // the registry's

	drain   *adapter.Drain // of a Worker, else nil
	abandon chan struct{}  // closed when a Worker no longer waits for handlers; nil without one

	running sync.Map // *rivertype.JobRow → *jobRun, while a job runs here
}

// log returns the logger, which is never nil.
func (w *jobWorker) log() *slog.Logger {
	if w.logger == nil {
		return slog.Default()
	}
	return w.logger
}

// owns reports whether a job is ours: an Executor has stored it, or its task is one
// of the registry's.
func (w *jobWorker) owns(row *rivertype.JobRow) bool {
	return w.tasks[row.Kind] || readEnvelope(row).ours
}

// jobRun is one run of a job.
type jobRun struct {
	envelope
	began  time.Time
	worked bool // Work was called
	failed bool // a line says that the job is not done
	lost   bool // the answer does not count
}

// Middleware is called for jobs that are about to run, and not for those that the
// rescuer asks about. It is outside all middleware and hooks of the client's.
func (w *jobWorker) Middleware(*rivertype.JobRow) []rivertype.WorkerMiddleware {
	return []rivertype.WorkerMiddleware{river.WorkerMiddlewareFunc(
		func(ctx context.Context, row *rivertype.JobRow, next func(context.Context) error) error {
			run := &jobRun{envelope: readEnvelope(row), began: time.Now()}
			w.running.Store(row, run)
			defer w.running.Delete(row)
			err := next(ctx)
			switch {
			case run.lost:
				return noAnswer{}
			case err != nil && !run.worked && !json.Valid(row.EncodedArgs): // River could not decode them
				return w.end(ctx, row, run, fmt.Errorf("airlock: river: task %s: the arguments are not JSON: %w", row.Kind, core.ErrMalformed))
			case err != nil && !run.failed:
				w.failedOutside(ctx, row, run, err)
			}
			return err
		})}
}

// Timeout is asked by River before it runs a job, and by its rescuer, which
// leaves a job alone that has not run for so long. So it must not answer the rescuer
// that there is no limit, or a job whose worker crashed would never be rescued.
// Perform ends an attempt on time. River's own limit, a little later, is there for
// its watch over stuck jobs, and does not reach the handler.
func (w *jobWorker) Timeout(j *river.Job[arguments]) time.Duration {
	const (
		clients = 0
		none    = -1
	)
	if r, ok := w.running.Load(j.JobRow); ok {
		switch run := r.(*jobRun); {
		case !run.ours:
			return clients
		case run.Timeout > 0:
			return run.Timeout + time.Second
		}
		return none
	}
	if !readEnvelope(j.JobRow).ours {
		return clients
	}
	// The rescuer has waited for RescueStuckJobsAfter already, and a worker that lives
	// has renewed its lease meanwhile. The job's own Timeout would make a job wait for
	// that long if its worker crashed.
	return time.Nanosecond
}

// NextRetry is asked after a failed attempt.
func (w *jobWorker) NextRetry(j *river.Job[arguments]) time.Time {
	e := readEnvelope(j.JobRow)
	if e.Backoff.IsZero() {
		return time.Time{} // the client's
	}
	return adapter.RoundUpTime(time.Now().Add(e.Backoff.Wait(max(j.Attempt, 1))), time.Millisecond)
}

// Work runs the job.
func (w *jobWorker) Work(ctx context.Context, j *river.Job[arguments]) error {
	row := j.JobRow
	run := w.runOf(row)
	run.worked = true
	if row.MaxAttempts > 0 && row.Attempt > row.MaxAttempts {
		return w.end(ctx, row, run, errUsedUp)
	}
	d := w.deliveryOf(ctx, row, run.envelope)
	held := newLease(ctx, row, run.began, w.rescueAfter)
	if held.overdue() && !held.confirm() {
		return w.discard(ctx, run, d, worker.Verdict{}, held)
	}
	end := func() {}
	if w.drain != nil {
		var ok bool
		if end, ok = w.drain.Begin(&d); !ok {
			v := worker.Verdict{Action: worker.Interrupted, Err: worker.ErrStopping}
			w.registry.Report(ctx, worker.Run{Delivery: d, Verdict: v})
			return w.answer(ctx, row, run, d, v)
		}
	}
	handlerCtx, cancel := w.handlerContext(ctx)
	defer cancel(nil)
	v, ok := w.await(w.perform(handlerCtx, d, end), held, cancel)
	if !ok {
		run.lost = true // the job runs again when its lease is over
		return noAnswer{}
	}
	if held.overdue() && !held.confirm() {
		return w.discard(ctx, run, d, v, held)
	}
	return w.answer(ctx, row, run, d, v)
}

// await returns the verdict, and keeps the lease until it is there. It returns false if
// the worker has stopped and waits for the handler no longer.
func (w *jobWorker) await(verdict <-chan worker.Verdict, held *lease, cancel context.CancelCauseFunc) (v worker.Verdict, ok bool) {
	renew := time.NewTicker(held.interval())
	defer renew.Stop()
	for {
		select {
		case v := <-verdict:
			return v, true
		case <-renew.C:
			if !held.confirm() && !held.completed {
				cancel(errLost)
			}
		case <-w.abandon:
			select {
			case v := <-verdict: // the worker waits no longer because this was the last handler
				return v, true
			default:
				return worker.Verdict{}, false
			}
		}
	}
}

// runOf returns what Middleware has stored.
func (w *jobWorker) runOf(row *rivertype.JobRow) *jobRun {
	if r, ok := w.running.Load(row); ok {
		return r.(*jobRun)
	}
	return &jobRun{envelope: readEnvelope(row), began: time.Now()} // called by a test, without middleware
}

// perform runs the handler on a goroutine of its own.
func (w *jobWorker) perform(ctx context.Context, d worker.Delivery, end func()) <-chan worker.Verdict {
	verdict := make(chan worker.Verdict, 1)
	began := time.Now()
	go func() {
		returned := false
		defer func() {
			if !returned { // by runtime.Goexit
				v := d.Exited()
				w.registry.Report(ctx, worker.Run{Delivery: d, Verdict: v, Took: time.Since(began)})
				verdict <- v
			}
			end()
		}()
		v := w.registry.Perform(ctx, d)
		returned = true
		verdict <- v
	}()
	return verdict
}

// handlerContext returns a context that ends with ctx, but not with River's time
// limit: that an attempt's time is up is for Perform to say.
func (w *jobWorker) handlerContext(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	handlerCtx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		switch {
		case ctx.Err() != context.Canceled:
		case isRemoteCancel(ctx):
			cancel(worker.ErrCanceled)
		default:
			cancel(worker.ErrStopping)
		}
	})
	unhook := func() bool { return true }
	if w.drain != nil {
		unhook = context.AfterFunc(w.drain.Context(), func() { cancel(worker.ErrStopping) })
	}
	return handlerCtx, func(cause error) {
		cancel(cause)
		if cause == nil { // the run is over
			stop()
			unhook()
		}
	}
}
