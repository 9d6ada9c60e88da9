package riverexec

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// apply turns a verdict into the error that makes River do the same.
func (w *jobWorker) apply(row *rivertype.JobRow, v worker.Verdict) error {
	switch v.Action {
	case worker.Done:
		return nil
	case worker.Snoozed:
		return river.JobSnooze(v.After.Truncate(time.Millisecond) + time.Millisecond)
	case worker.Parked:
		return river.JobSnooze(w.parkFor)
	case worker.Interrupted:
		// River gives an attempt back in the course of a soft stop too, but only if
		// its own timer has started that.
		return river.JobSnooze(0)
	}
	err := &attemptError{v.Err}
	var snooze *rivertype.JobSnoozeError
	if errors.As(v.Err, &snooze) { // River would obey it and not the verdict
		err.cause = errors.New(err.Error())
	}
	if v.Action == worker.Dead && (worker.IsPermanent(v.Err) || errors.Is(v.Err, worker.ErrCanceled) || // by an operator
		row.Attempt < row.MaxAttempts) {
		return river.JobCancel(err)
	}
	return err // River discards the job after the last attempt
}

// answer logs the run and applies its verdict.
func (w *jobWorker) answer(ctx context.Context, row *rivertype.JobRow, run *jobRun, d worker.Delivery, v worker.Verdict) error {
	if v.Action == worker.Parked {
		v.After = w.parkFor
	}
	last := nativeAnswer(v)
	if isRemoteCancel(ctx) && v.Action != worker.Done {
		last = canceled(v)
	}
	if last.Action != v.Action { // which Perform could not foresee
		w.registry.Report(ctx, worker.Run{Delivery: d, Verdict: last})
	}
	v = last
	run.failed = v.Action != worker.Done
	adapter.LogRun(ctx, w.logger, worker.Run{Delivery: d, Verdict: v, Took: time.Since(run.began)})
	return w.apply(row, v)
}

// failedOutside reports a run that failed by a hook or a middleware of the client,
// before the handler was called or after it had succeeded.
func (w *jobWorker) failedOutside(ctx context.Context, row *rivertype.JobRow, run *jobRun, err error) {
	v := worker.Verdict{Action: worker.Retry, Err: err}
	if row.Attempt >= row.MaxAttempts {
		v.Action = worker.Dead
	}
	r := worker.Run{Delivery: w.deliveryOf(ctx, row, run.envelope), Verdict: nativeAnswer(v), Took: time.Since(run.began)}
	w.registry.Report(ctx, r)
	adapter.LogRun(ctx, w.logger, r)
}

// nativeAnswer returns the verdict on a handler's error that is one of River's own
// answers. River obeys river.JobSnooze and river.JobCancel in any error, so the
// verdict says the same. Permanent wins over both.
func nativeAnswer(v worker.Verdict) worker.Verdict {
	if v.Action != worker.Retry && v.Action != worker.Dead || worker.IsPermanent(v.Err) {
		return v
	}
	var snooze *rivertype.JobSnoozeError
	var cancel *rivertype.JobCancelError
	switch {
	case errors.As(v.Err, &snooze):
		return worker.Verdict{Action: worker.Snoozed, After: snooze.Duration, Err: v.Err}
	case errors.As(v.Err, &cancel):
		return worker.Verdict{Action: worker.Dead, Err: v.Err}
	}
	return v
}

// end makes a job dead that is not run.
func (w *jobWorker) end(ctx context.Context, row *rivertype.JobRow, run *jobRun, why error) error {
	d := w.deliveryOf(ctx, row, run.envelope)
	v := worker.Verdict{Action: worker.Dead, Err: why}
	w.registry.Report(ctx, worker.Run{Delivery: d, Verdict: v})
	return w.answer(ctx, row, run, d, v)
}

var errUsedUp = errors.New("airlock: river: attempts used up; the last worker never answered")

// canceled returns the verdict on a job that an operator has cancelled while it ran,
// and that has not succeeded. For Perform this is a failed attempt, but River does not
// run the job again.
func canceled(v worker.Verdict) worker.Verdict {
	err := fmt.Errorf("%w: %w", worker.ErrCanceled, rivertype.ErrJobCancelledRemotely)
	if v.Err != nil {
		err = fmt.Errorf("%w, after %w", err, v.Err)
	}
	return worker.Verdict{Action: worker.Dead, Err: err}
}

func isRemoteCancel(ctx context.Context) bool {
	return errors.Is(context.Cause(ctx), rivertype.ErrJobCancelledRemotely)
}

// discard drops the verdict on a job that this worker has lost.
func (w *jobWorker) discard(ctx context.Context, run *jobRun, d worker.Delivery, v worker.Verdict, held *lease) error {
	run.lost = true
	if held.completed { // by CompleteTx
		adapter.LogRun(ctx, w.logger, worker.Run{Delivery: d, Took: time.Since(run.began)})
		return noAnswer{}
	}
	attrs := []slog.Attr{slog.String("task", d.Task), slog.String("id", d.ID), slog.String("queue", d.Queue),
		slog.Int("attempt", d.Attempt), slog.Duration("took", time.Since(run.began)), slog.String("answer", v.Action.String())}
	if v.Err != nil {
		attrs = append(attrs, slog.String("error", adapter.ErrorText(v.Err, maxErrorText)))
	}
	w.log().LogAttrs(ctx, slog.LevelWarn, "airlock: job lost to another worker, answer discarded", attrs...)
	return noAnswer{}
}

// noAnswer makes River leave the job's row as it is. River asks an error for the
// jobs that it is about (jobexecutor.reportResults, v0.51.1), and this one is about
// none.
type noAnswer struct{}

func (noAnswer) Error() string               { return "airlock: river: no answer" }
func (noAnswer) ErrorsByID() map[int64]error { return nil }
func (noAnswer) Jobs() []*rivertype.JobRow   { return nil }

// maxErrorText bounds the text of an error that River stores, in bytes.
const maxErrorText = 16 << 10

// attemptError is an error whose text River can store, with the stack of a panic.
// PostgreSQL would refuse a NUL, and with it all completions of the same batch.
type attemptError struct{ cause error }

func (e *attemptError) Error() string {
	text := adapter.ErrorText(e.cause, maxErrorText)
	var p *core.PanicError
	if errors.As(e.cause, &p) {
		text += "\n\n" + string(p.Stack)
	}
	return text
}

func (e *attemptError) Unwrap() error { return e.cause }
