package compose

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/goairlock/airlock/core"
)

// Retry says how [WithRetry] tries again. The zero value works.
type Retry struct {
	// Attempts bounds the calls of the executor, the first included. 0 means 3.
	Attempts int

	// Backoff says how long to wait after each attempt. Each wait is shortened by
	// a random part of up to a half, so that producers that failed together do
	// not come back together. The zero value means
	// core.Exponential(100*time.Millisecond, 5*time.Second).
	Backoff core.BackoffPolicy

	// OnRetry, if set, is called before each wait: attempt has been made, counted
	// from 1, err tells what became of the intents that will be sent again, and
	// the next attempt is made after wait. It is the place to log or count. It
	// must be safe for concurrent use and should return soon; its panic is
	// contained and logged with slog's default logger.
	OnRetry func(ctx context.Context, attempt int, wait time.Duration, err error)
}

const (
	defaultAttempts  = 3
	defaultFirstWait = 100 * time.Millisecond
	defaultMaxWait   = 5 * time.Second
)

// WithRetry sends again what was not accepted: intents that are NotSent or
// Unknown, which is how a plain error is read, and those that Failed unless the
// error is marked by [core.Permanent]. Only these are sent again, with the same
// IDs and in their order. Accepted, Duplicate and Rejected are final.
//
// A call that was refused as a whole, an intent Rejected and all others NotSent
// because of it, is final too: sending the rest by itself would turn a refusal
// into half a batch, and waiting would not change it.
//
// Of an intent that was sent more than once the last answer holds, with two
// exceptions that keep it true. An intent that was Unknown may be stored, so
// nothing but an acknowledgement changes that: Accepted, or Duplicate, which is
// reported as Accepted, for what was found is taken to be its own earlier send.
// (Where the caller chose the ID or gave a Unique key it could be another
// producer's job of the same key, which the backend cannot tell apart; either
// way there is such a job.) And an intent that has Failed stays so if it could
// not be sent again.
//
// When ctx ends during a wait the call returns at once with what is known, and
// errors.Is finds the context's error. After the last attempt the errors are
// those of the last answer of each intent.
//
// A retry is safe within the executor's ID window: see [core.Capabilities].
// Negative Attempts and a Backoff that core would refuse are [core.ErrInvalid]
// at each call.
func WithRetry(exec core.Executor, r Retry) core.Executor {
	bad := r.resolve()
	if bad == nil {
		bad = missing("WithRetry", exec)
	}
	return wrap(bad, func(ctx context.Context, intents []core.Intent) []core.Outcome {
		out := call(ctx, exec, intents)
		if out == nil {
			return nil
		}
		r.sendAgain(ctx, exec, intents, out)
		return out
	})
}

// resolve fills in the defaults and tells what is wrong.
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

// sendAgain makes the attempts after the first, whose outcomes are out, and
// keeps out up to date.
func (r *Retry) sendAgain(ctx context.Context, exec core.Executor, intents []core.Intent, out []core.Outcome) {
	pending := make([]int, len(intents)) // what the last attempt sent
	for i := range pending {
		pending[i] = i
	}
	last := out // the last attempt's outcomes, one for each of pending
	for attempt := 1; attempt < r.Attempts; attempt++ {
		pending = retryable(pending, last)
		if len(pending) == 0 {
			return
		}
		if !r.wait(ctx, attempt, pending, out) {
			for _, i := range pending {
				interrupt(ctx, &out[i])
			}
			return
		}
		again := subset(intents, pending)
		last = call(ctx, exec, again)
		for k, i := range pending {
			out[i] = later(out[i], part(last, again, k))
		}
	}
}

// retryable keeps of pending what is worth another attempt.
func retryable(pending []int, last []core.Outcome) []int {
	if last == nil || refusedWhole(last) {
		return nil
	}
	keep := pending[:0]
	for k, i := range pending {
		switch o := &last[k]; o.State {
		case core.NotSent, core.Unknown:
			keep = append(keep, i)
		case core.Failed:
			if !permanent(o.Err) {
				keep = append(keep, i)
			}
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

// later is what is known of an intent after a further attempt.
func later(before, now core.Outcome) core.Outcome {
	switch {
	case before.State == core.Unknown && now.State == core.Duplicate:
		now.State, now.Err = core.Accepted, nil
	case before.State == core.Unknown && !settled(now.State) && now.State != core.Unknown,
		before.State == core.Failed && (now.State == core.NotSent || now.State == core.Rejected):
		now.State, now.Err = before.State, beside(before.Err, "sent again", now.Err)
	}
	return now
}
