package syncexec

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// dispatch is Execute behind the guard.
func (e *Executor) dispatch(ctx context.Context, intents ...core.Intent) error {
	out := core.Outcomes(intents, core.NotSent, core.ErrEarlierFailed)
	for i := range intents {
		if ctx.Err() != nil {
			for j := i; j < len(out); j++ {
				out[j].Err = core.ContextError(ctx)
			}
			break
		}
		out[i].State, out[i].Err = e.run(ctx, &intents[i])
		if out[i].State != core.Failed {
			continue
		}
		if ctx.Err() == nil {
			break
		}
		// Failed is what errors.Is sees of the call, so the context's error must be in it.
		out[i].Err = withContext(ctx, out[i].Err)
	}
	return core.Combine(out)
}

// run runs the job of an intent to its end, unless there is one already.
func (e *Executor) run(ctx context.Context, in *core.Intent) (state core.State, err error) {
	key := uniqueKey{in.Task, in.Options.Queue, in.Options.Unique}
	if !e.begin(in, key) {
		if in.ChosenID() || in.Options.Unique != "" {
			return core.Duplicate, core.ErrDuplicate
		}
		return core.Accepted, nil
	}
	defer func() { e.end(in, key, state) }()
	if err := e.attempt(ctx, in); err != nil {
		return core.Failed, err
	}
	return core.Accepted, nil
}

// withContext adds the error of a context that has ended, and its cause, to a job's
// error that does not wrap them.
func withContext(ctx context.Context, err error) error {
	switch {
	case !errors.Is(err, ctx.Err()):
		return fmt.Errorf("%w: %w", core.ContextError(ctx), err)
	case !errors.Is(err, context.Cause(ctx)):
		return fmt.Errorf("%w: %w", err, context.Cause(ctx))
	}
	return err
}

// attempt makes the job's attempts. It returns nil once one has succeeded, else why
// no further one is made.
func (e *Executor) attempt(ctx context.Context, in *core.Intent) error {
	d := worker.FirstDelivery(in)
	d.MaxAttempts = max(d.MaxAttempts, 1)
	jobCtx := core.WithoutValues(ctx)
	for ; ; d.Attempt++ {
		v := e.registry.Perform(jobCtx, d)
		switch v.Action {
		case worker.Done:
			return nil
		case worker.Snoozed:
			return fmt.Errorf("airlock: sync: task %s: a snooze fails the job, because there is no later run: %w", in.Task, v.Err)
		case worker.Retry:
			if !wait(ctx, v.After) {
				return fmt.Errorf("airlock: sync: task %s: no attempt after %d of %d: %w", in.Task, d.Attempt, d.MaxAttempts, v.Err)
			}
		default: // Dead, Interrupted; Parked cannot be, since the guard has refused it
			return v.Err
		}
	}
}

// wait waits for d. It returns false if ctx has ended.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// uniqueKey is a unique key with its scope.
type uniqueKey struct{ task, queue, key string }

// begin notes that the job runs. It returns false if its ID is known or its key is
// held.
func (e *Executor) begin(in *core.Intent, key uniqueKey) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, held := e.unique[key]; held || !e.known.Add(in.ID) {
		return false
	}
	if key.key != "" {
		e.unique[key] = struct{}{}
	}
	return true
}

// end notes that the job has ended.
func (e *Executor) end(in *core.Intent, key uniqueKey, state core.State) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if state == core.Accepted {
		e.known.Succeed(in.ID)
	} else {
		e.known.Release(in.ID)
	}
	delete(e.unique, key)
}
