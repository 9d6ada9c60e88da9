package natsexec

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// settleInSlot is how long a job that has run keeps its slot until the server has
// confirmed what became of it. Past that the slot is free, and the tries go on.
const settleInSlot = time.Second

// release frees slots.
func (w *Worker) release(n int64) {
	w.released.Add(n)
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// start runs a job that has a slot, on a goroutine that has run one before if there is
// one: its stack is as large as handlers need.
func (w *Worker) start(d delivery) {
	w.work.begin() // returns true: Run waits for the feeder first
	select {
	case w.idle <- d:
	default:
		go w.serve(d)
	}
}

// serve runs one job after the other. There are more of these goroutines than slots while
// some wait for a server without their slots.
func (w *Worker) serve(d delivery) {
	w.serving.Add(1)
	defer w.serving.Add(-1)
	for ok := true; ok; d, ok = <-w.idle {
		w.handle(d)
		if w.serving.Load() > int64(2*w.opts.Concurrency) {
			return
		}
	}
}

// handle does everything about one delivery.
func (w *Worker) handle(d delivery) {
	j := w.deliveryOf(d.source, d.msg, d.meta)
	ack, admitted := w.jobs.admit(j, d.asked)
	switch wait := time.Until(j.notBefore); {
	case !admitted: // it runs here, and has the new delivery now
		w.free(j)
		w.work.end()
	case !j.lease.held():
		w.log(j, "a delivery came too late: another worker may have its job", nil)
		w.free(j)
		w.leave(j)
	case ack != "":
		w.confirm(j, ack)
	case !j.notBefore.IsZero() && (j.first || wait > 0):
		w.settle(j, func() bool { return w.wait(j, max(wait, 0)) })
	case w.claim(j) == decided:
		w.log(j, "an earlier worker has put the job off or among the dead: it is not run", nil)
		w.confirm(j, "+ACK")
	case !j.lease.held(): // it could not be claimed
		w.log(j, "another worker may have the job, and nobody answered who: it is not run", nil)
		w.free(j)
		w.leave(j)
	default:
		w.perform(j)
	}
}

// free frees the job's slot, once.
func (w *Worker) free(j *job) {
	if j.freed.CompareAndSwap(false, true) {
		w.release(1)
	}
}

// leave ends the job's time here.
func (w *Worker) leave(j *job) {
	w.jobs.leave(j)
	w.work.end()
}

// settle does what the server must confirm, and frees the slot when that is done or
// after settleInSlot. If do returns true, an acknowledgement is on its way, and the job
// leaves when that is confirmed.
func (w *Worker) settle(j *job, do func() (acknowledged bool)) {
	late := time.AfterFunc(settleInSlot, func() { w.free(j) })
	defer late.Stop()
	if !do() {
		w.leave(j)
	}
	w.free(j)
}

// perform runs the job, unless it must not be run, and does what the verdict says.
func (w *Worker) perform(j *job) {
	run := worker.Run{Delivery: j.delivery}
	if v, ended := w.endWithoutRun(j); ended {
		run.Delivery, run.Verdict = j.delivery, v
		w.finish(j, run, false)
		return
	}
	end, ok := w.drain.Begin(&j.delivery)
	if !ok {
		run.Verdict = worker.Verdict{Action: worker.Interrupted, Err: worker.ErrStopping}
		w.finish(j, run, false)
		return
	}
	w.work.end() // until Perform returns, the drain waits for the job
	began, returned := time.Now(), false
	defer func() {
		run.Took = time.Since(began)
		if !returned { // the handler ends this goroutine
			run.Verdict = j.delivery.Exited()
			w.registry.Report(context.Background(), run)
		}
		if !w.work.begin() {
			return // Run has given the job up, and no longer waits
		}
		end()
		w.finish(j, run, true)
	}()
	run.Verdict = w.registry.Perform(w.drain.Context(), j.delivery)
	returned = true
}

// finish does what the verdict says and logs the run, unless another worker has the job
// now. Observers know of it already if it was reported.
func (w *Worker) finish(j *job, run worker.Run, reported bool) {
	if run.Verdict.Action == worker.Parked {
		run.Verdict.After = w.opts.ParkFor
	}
	record := func() {
		if !reported {
			w.registry.Report(context.Background(), run)
		}
		adapter.LogRun(context.Background(), w.opts.Logger, run)
	}
	if run.Verdict.Action == worker.Done {
		if !j.lease.held() {
			w.logStale(j, run, "the lease was over before the job was done: another worker may run it too")
		} else {
			record()
		}
		w.confirm(j, "+ACK")
		return
	}
	w.settle(j, func() bool {
		stale := w.stale(j)
		if c := w.claim(j); stale == "" && (c == decided || c == unknown) { // it was delivered once more
			stale = "an earlier worker decided about the job"
		}
		if stale != "" {
			w.logStale(j, run, stale+", nothing is done")
			return false
		}
		record()
		return w.apply(j, run.Verdict)
	})
}

// endWithoutRun returns the verdict on a job that must not be run: its subject has no
// task name, or an earlier worker began its last attempt and never answered.
func (w *Worker) endWithoutRun(j *job) (v worker.Verdict, ended bool) {
	d := &j.delivery
	switch known := w.registry.Handles(d.Task); {
	case !known && !isTaskName(d.Task):
		v.Err = fmt.Errorf("airlock: nats: the subject has no task name: %w", core.ErrInvalid)
	case known && d.Attempt > d.MaxAttempts && !errors.Is(d.EnvelopeErr, worker.ErrLaterVersion):
		d.Attempt, j.attempt = d.MaxAttempts, d.MaxAttempts
		v.Err = fmt.Errorf("airlock: nats: all %d attempts are used up: the worker that began the last one never answered", d.MaxAttempts)
	default:
		return v, false
	}
	v.Action = worker.Dead
	return v, true
}

// logForeign logs a message that is no delivery of a consumer.
func (w *Worker) logForeign(m *nats.Msg, err error) {
	w.opts.Logger.LogAttrs(context.Background(), slog.LevelError, "airlock: nats: a message that JetStream did not send",
		slog.String("subject", oneLine(m.Subject)), slog.String("error", err.Error()))
}

// logStale logs a run whose verdict does not count, or not alone.
func (w *Worker) logStale(j *job, run worker.Run, text string) {
	w.log(j, text, run.Verdict.Err, slog.String("verdict", run.Verdict.Action.String()), slog.Duration("took", run.Took))
}

// log writes a line about a job for which LogRun has none.
func (w *Worker) log(j *job, text string, err error, more ...slog.Attr) {
	d := &j.delivery
	attrs := []slog.Attr{slog.String("task", oneLine(d.Task)), slog.String("id", d.ID), slog.String("queue", d.Queue), slog.Int("attempt", max(d.Attempt, 1))}
	attrs = append(attrs, more...)
	if err != nil {
		attrs = append(attrs, slog.String("error", adapter.ErrorText(err, longestReason)))
	}
	w.opts.Logger.LogAttrs(context.Background(), slog.LevelWarn, "airlock: nats: "+text, attrs...)
}
