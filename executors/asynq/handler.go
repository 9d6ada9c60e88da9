package asynqexec

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hibiken/asynq"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// Handler returns the handler for an asynq.Server of your own that runs jobs with
// the registry: those that an [Executor] has dispatched, and those of native
// producers. Tasks are found by their exact names, unlike in an asynq.ServeMux,
// which takes prefixes. A task that the registry does not know is parked.
//
// The server's Config must have been through [ConfigureServer]. Without it every
// job fails with an error that says so. A [Worker] has its handler already.
func Handler(reg *worker.Registry) asynq.Handler { return Middleware(reg)(nil) }

// Middleware is [Handler] next to native handlers: tasks that the registry does not
// know go to the next handler, such as an asynq.ServeMux. A task that is not known
// there either (asynq.ErrHandlerNotFound) is parked.
func Middleware(reg *worker.Registry) asynq.MiddlewareFunc {
	return func(next asynq.Handler) asynq.Handler { return &jobHandler{reg, next} }
}

type jobHandler struct {
	reg  *worker.Registry
	next asynq.Handler // may be nil
}

var (
	errNotConfigured = errors.New("airlock: asynq: the server's Config has not been through asynqexec.ConfigureServer")
	errUsedUp        = errors.New("airlock: asynq: attempts used up; the last worker never answered")
)

// ProcessTask runs one delivery.
func (h *jobHandler) ProcessTask(ctx context.Context, t *asynq.Task) error {
	if h.next != nil && !h.reg.Handles(t.Type()) {
		if err := h.next.ProcessTask(ctx, t); !errors.Is(err, asynq.ErrHandlerNotFound) {
			return err
		}
	}
	s, ok := ctx.Value(settingsKey{}).(*settings)
	if !ok {
		if _, served := asynq.GetTaskID(ctx); served {
			return errNotConfigured
		}
		s = &settings{parkFor: defaultParkFor, logger: slog.Default()}
	}
	d := deliveryOf(ctx, t, s.names)
	began := time.Now()
	v := h.run(ctx, s, &d)
	if feasible := s.feasible(ctx, v, &d); feasible.Action != v.Action { // which observers could not foresee
		v = feasible
		h.reg.Report(ctx, worker.Run{Delivery: d, Verdict: v})
	} else {
		v = feasible
	}
	run := worker.Run{Delivery: d, Verdict: v, Took: time.Since(began)}
	if ctx.Err() != nil {
		logTakenAway(ctx, s.logger, run)
	} else {
		adapter.LogRun(ctx, s.logger, run)
	}
	return s.apply(ctx, v)
}

// run has the registry perform a delivery, unless there is nothing to perform.
func (h *jobHandler) run(ctx context.Context, s *settings, d *worker.Delivery) worker.Verdict {
	if d.MaxAttempts > 0 && d.Attempt > d.MaxAttempts {
		v := worker.Verdict{Action: worker.Dead, Err: errUsedUp}
		h.reg.Report(ctx, worker.Run{Delivery: *d, Verdict: v})
		return v
	}
	ctx = withoutLimit(ctx)
	if s.drain == nil {
		return h.reg.Perform(ctx, *d)
	}
	end, ok := s.drain.Begin(d)
	if !ok {
		v := worker.Verdict{Action: worker.Interrupted, Err: worker.ErrStopping}
		h.reg.Report(ctx, worker.Run{Delivery: *d, Verdict: v})
		return v
	}
	defer end()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	run := s.cancels.add(d.Queue, d.ID, cancel)
	defer s.cancels.remove(d.ID, run)
	defer s.recent.note(d.Queue, d.ID) // before it is removed
	return h.reg.Perform(ctx, *d)
}

// logTakenAway logs a run whose job asynq has given away while the handler still
// ran, so that nobody records the answer: the worker's lease is over, or, on a
// server that is not a Worker's, asynq has put the job back or obeyed a
// cancellation.
func logTakenAway(ctx context.Context, logger *slog.Logger, run worker.Run) {
	d := &run.Delivery
	logger.LogAttrs(ctx, slog.LevelWarn, "airlock: asynq: the worker no longer has the job, its answer does not count",
		slog.String("task", d.Task), slog.String("id", d.ID), slog.String("queue", d.Queue),
		slog.Int("attempt", max(d.Attempt, 1)), slog.Duration("took", run.Took),
		slog.String("answer", run.Verdict.Action.String()),
		slog.String("error", adapter.ErrorText(core.ContextError(ctx), 0)))
}

// errUnreadable is why a stored message is archived without a run.
var errUnreadable = fmt.Errorf("airlock: asynq: the stored message cannot be decoded: %w", core.ErrInvalid)
