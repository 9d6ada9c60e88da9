package compose

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/goairlock/airlock/core"
)

// Retry says how [WithRetry] tries again. The zero value works.
type Retry struct {
	// Attempts limits the calls of the executor, the first included. 0 means 3.
	Attempts int

	// Backoff says how long to wait after each attempt. Each wait is shortened by
	// a random part of up to a half, so that producers that failed together do
	// not come back together. The zero value means
	// core.Exponential(100*time.Millisecond, 5*time.Second).
	Backoff core.BackoffPolicy

	// OnlyNotSent sends again only what certainly was not stored: an intent that is
	// Unknown stays so. It is for executors that remember no IDs, such as RabbitMQ
	// without an inbox and Celery, on which an intent that is sent again may become a
	// second job.
	OnlyNotSent bool

	// OnRetry, if set, is called before each wait: attempt is the number of
	// attempts made so far, err is a [*core.DispatchError] of the intents that will
	// be sent again, and wait is the time until then. It is the place to log or
	// count. It must be safe for concurrent use and should return soon. A panic of
	// it is contained and logged with slog's default logger.
	OnRetry func(ctx context.Context, attempt int, wait time.Duration, err error)
}

const (
	defaultAttempts  = 3
	defaultFirstWait = 100 * time.Millisecond
	defaultMaxWait   = 5 * time.Second
)

// WithRetry sends again what was not accepted: intents that are NotSent or
// Unknown, as they are after a plain error, and intents that Failed. Only these
// are sent again, with the same IDs and in their order. Accepted, Duplicate and
// Rejected are final. So are
//
//   - a failure of an intent that has the option MaxAttempts: those were its
//     attempts;
//   - an error that is marked by worker.Permanent or wraps [core.ErrMalformed];
//   - a call that was refused as a whole, an intent Rejected and all others NotSent
//     because of it: sending the rest alone would turn a refusal into half a batch.
//
// The last answer holds for an intent that was sent more than once, with two
// exceptions that keep it true. An intent that was Unknown may be stored, and only
// an acknowledgement changes that: Accepted, or Duplicate, which is reported as
// Accepted, since the job that was found is taken to be its own earlier send.
// (If the caller chose the ID or gave a Unique key, it could be another producer's
// job of the same key. The backend cannot know; either way there is such a job.)
// And an intent that has Failed stays so if it could not be sent again. In both
// cases the error shows the answer that decided and the one of the last attempt.
//
// When ctx ends during a wait, the call returns at once with what is known, and
// errors.Is finds the context's error.
//
// A retry is safe within the executor's ID window: see [core.Capabilities]. For an
// executor without one there is [Retry.OnlyNotSent].
// Negative Attempts and a Backoff that core would refuse are [core.ErrInvalid]
// at each call.
func WithRetry(exec core.Executor, r Retry) core.Executor {
	bad := r.resolve()
	if bad == nil {
		bad = needs("WithRetry", exec)
	}
	return wrap(bad, passOn(exec), func(ctx context.Context, intents []core.Intent) error {
		out := call(ctx, exec, intents)
		if out == nil {
			return nil
		}
		r.sendAgain(ctx, exec, intents, out)
		return core.Combine(out)
	})
}

// resolve fills in the defaults and returns what is wrong.
func (r *Retry) resolve() error {
	if r.Attempts == 0 {
		r.Attempts = defaultAttempts
	}
	if r.Backoff.IsZero() {
		r.Backoff = core.Exponential(defaultFirstWait, defaultMaxWait)
	}
	switch {
	case r.Attempts < 0:
		return invalidf("WithRetry: %d attempts, want at least 1", r.Attempts)
	case r.Backoff.First <= 0:
		return invalidf("WithRetry: backoff of %v, want more than 0", r.Backoff.First)
	case r.Backoff.Max < r.Backoff.First:
		return invalidf("WithRetry: backoff from %v to %v, the longest wait is shorter than the first", r.Backoff.First, r.Backoff.Max)
	}
	return nil
}

// sendAgain makes the attempts after the first. out has the outcomes of the
// first, and sendAgain updates it.
func (r *Retry) sendAgain(ctx context.Context, exec core.Executor, intents []core.Intent, out []core.Outcome) {
	pending := make([]int, len(intents)) // what the last attempt sent
	for i := range pending {
		pending[i] = i
	}
	last := out // the last attempt's outcomes, one for each of pending
	for attempt := 1; attempt < r.Attempts; attempt++ {
		pending = r.retryable(pending, last, intents)
		if len(pending) == 0 {
			return
		}
		if !r.wait(ctx, attempt, pending, out) {
			addContextError(ctx, out)
			return
		}
		again := subset(intents, pending)
		last = call(ctx, exec, again)
		for k, i := range pending {
			out[i] = later(out[i], outcomeAt(last, again, k))
		}
	}
}

// retryable keeps of pending what is worth another attempt.
func (r *Retry) retryable(pending []int, last []core.Outcome, intents []core.Intent) []int {
	if last == nil || refusedWhole(last) {
		return nil
	}
	keep := pending[:0]
	for k, i := range pending {
		o := &last[k]
		switch {
		case settled(o.State) || o.State == core.Rejected:
		case r.OnlyNotSent && o.State != core.NotSent:
		case o.State == core.Failed && intents[i].Has(core.OptionMaxAttempts):
		case final(o.Err):
		default:
			keep = append(keep, i)
		}
	}
	return keep
}

// wait reports whether ctx lasted until the next attempt is due.
func (r *Retry) wait(ctx context.Context, attempt int, pending []int, out []core.Outcome) bool {
	if ctx.Err() != nil {
		return false
	}
	wait := r.Backoff.Wait(attempt)
	wait -= rand.N(wait/2 + 1)
	if r.OnRetry != nil {
		failed := make([]core.Outcome, len(pending))
		for k, i := range pending {
			failed[k] = out[i]
		}
		contain("OnRetry", func() { r.OnRetry(ctx, attempt, wait, core.Combine(failed)) })
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// later returns what is known of an intent after a further attempt.
func later(before, now core.Outcome) core.Outcome {
	switch {
	case before.State == core.Unknown && now.State == core.Duplicate:
		now.State, now.Err = core.Accepted, nil
	case before.State == core.Unknown && !settled(now.State) && now.State != core.Unknown,
		before.State == core.Failed && (now.State == core.NotSent || now.State == core.Rejected):
		now.State, now.Err = before.State, annotate(decisive(before.Err), lastAttempt, now.Err)
	}
	return now
}

// decisive returns an error without what an earlier attempt has added, so that
// errors do not grow with the attempts.
func decisive(err error) error {
	if a, ok := err.(*annotatedError); ok && a.label == lastAttempt {
		return a.err
	}
	return err
}
