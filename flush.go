package airlock

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/goairlock/airlock/core"
)

// FlushError says that a flush did not deliver every intent, and what became of
// each. errors.Is and errors.As see what a [core.DispatchError] of the same
// outcomes shows.
type FlushError struct {
	// Outcomes has one outcome for each intent that the policies let leave, in
	// the order of the flush.
	Outcomes []core.Outcome
	// Undelivered holds the intents that were neither Accepted nor Duplicate, in
	// order. Sending them again is safe as far as the executor's ID window goes;
	// those Rejected or Failed will fare no better.
	Undelivered []core.Intent

	cause error
}

func (e *FlushError) Error() string {
	return fmt.Sprintf("airlock: flush: %d of %d intents not delivered: %v", len(e.Undelivered), len(e.Outcomes), e.cause)
}

// Unwrap returns the [*core.DispatchError] of the outcomes.
func (e *FlushError) Unwrap() error { return e.cause }

// newFlushError returns nil if everything was delivered; a duplicate was.
func newFlushError(outcomes []core.Outcome, intents []core.Intent) error {
	var undelivered []core.Intent
	for i := range outcomes {
		if s := outcomes[i].State; s != core.Accepted && s != core.Duplicate {
			undelivered = append(undelivered, intents[i])
		}
	}
	if undelivered == nil {
		return nil
	}
	return &FlushError{Outcomes: outcomes, Undelivered: undelivered, cause: core.Combine(outcomes)}
}

func allOutcomes(intents []core.Intent, state core.State, err error) []core.Outcome {
	out := core.OutcomesOf(nil, intents)
	for i := range out {
		out[i].State, out[i].Err = state, err
	}
	return out
}

// Flush ends the scope and sends what it holds to its executor, in order and in
// one call, or hands it to the scope around it. What the policies drop is not
// sent, and is no failure; nor is a Duplicate. If anything was not delivered the
// error is a [*FlushError] that holds it.
//
// A ctx that is done, unless there is a [FlushLimit], or a policy that panics,
// sends nothing. A second Flush, or one after Discard, is [ErrScopeClosed].
func (s *Scope) Flush(ctx context.Context) error {
	if ctx == nil {
		return fmt.Errorf("airlock: flush: nil context: %w", core.ErrInvalid)
	}
	if !s.end() {
		return fmt.Errorf("airlock: flush: %w", ErrScopeClosed)
	}
	if len(s.intents) == 0 {
		return nil
	}
	if s.set.flushLimit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), s.set.flushLimit)
		defer cancel()
	}
	if s.exec == nil {
		if err := s.outer.capture(s.set.children, s.intents, s.origins); err != nil {
			return newFlushError(allOutcomes(s.intents, core.NotSent, err), s.intents)
		}
		return nil
	}
	// Neither policies nor whatever the executor runs may see a scope: what they
	// enqueued would land in the one around this.
	outside := (&place{}).attach(ctx)
	intents, err := s.leaving(outside)
	if err != nil {
		return newFlushError(allOutcomes(intents, core.NotSent, err), intents)
	}
	return s.send(outside, intents)
}

// leaving returns the intents that are this scope's to send: those that no
// outer scope captures and the policies allow. With an error it returns those
// that stay undelivered.
func (s *Scope) leaving(ctx context.Context) (intents []core.Intent, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &core.PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	intents, origins := s.intents, s.origins
	for outer := s.outer; outer != nil && len(intents) > 0; outer = outer.outer {
		left, leftFrom, err := outer.claim(ctx, s.set.children, intents, origins)
		if err != nil {
			return intents, err
		}
		intents, origins = left, leftFrom
	}
	if !slices.ContainsFunc(origins, func(o origin) bool { return o.at.filters }) {
		return intents, nil
	}
	s.place.judgements.Add(1)
	defer s.place.judgements.Add(-1)
	judging := (&place{scope: s, judging: true}).attach(ctx)
	allowed := make([]core.Intent, 0, len(intents))
	for i := range intents {
		if origins[i].at.allows(judging, &intents[i]) {
			allowed = append(allowed, intents[i])
		}
	}
	return allowed, nil
}

// claim captures those intents of a scope further in that this one asks for,
// and returns the others.
func (s *Scope) claim(ctx context.Context, family *lineage, intents []core.Intent, origins []origin) ([]core.Intent, []origin, error) {
	if s.set.captures == nil {
		return intents, origins, nil
	}
	var taken, left []core.Intent
	var takenFrom, leftFrom []origin
	for i := range intents {
		if s.set.captures(ctx, intents[i]) {
			taken, takenFrom = append(taken, intents[i]), append(takenFrom, origins[i])
		} else {
			left, leftFrom = append(left, intents[i]), append(leftFrom, origins[i])
		}
	}
	if len(taken) == 0 {
		return intents, origins, nil
	}
	return left, leftFrom, s.capture(family, taken, takenFrom)
}

// send makes the call, and with ContinueOnError a second one.
func (s *Scope) send(ctx context.Context, intents []core.Intent) error {
	if len(intents) == 0 {
		return nil
	}
	if s.set.children != nil {
		s.mu.Lock() // Intents may be asked for meanwhile
		s.set.children.name(intents)
		s.mu.Unlock()
	}
	err := call(ctx, s.exec, intents)
	if err == nil {
		return nil
	}
	outcomes := core.OutcomesOf(err, intents)
	if s.set.continueOnError {
		resend(ctx, s.exec, intents, outcomes)
	}
	return newFlushError(outcomes, intents)
}

// resend sends what was not sent once more and updates the outcomes.
func resend(ctx context.Context, exec core.Executor, intents []core.Intent, outcomes []core.Outcome) {
	var rest []core.Intent
	var index []int
	for i := range outcomes {
		if outcomes[i].State == core.NotSent {
			rest, index = append(rest, intents[i]), append(index, i)
		}
	}
	if len(rest) == 0 || len(rest) == len(intents) || ctx.Err() != nil {
		return
	}
	for k, o := range core.OutcomesOf(call(ctx, exec, rest), rest) {
		outcomes[index[k]] = o
	}
}

// call contains a panic of the executor: the intents may have been sent.
func call(ctx context.Context, exec core.Executor, intents []core.Intent) (err error) {
	defer func() {
		if v := recover(); v != nil {
			p := &core.PanicError{Value: v, Stack: debug.Stack()}
			err = core.Combine(allOutcomes(intents, core.Unknown, p))
		}
	}()
	if err := ctx.Err(); err != nil {
		if cause := context.Cause(ctx); cause != err {
			err = fmt.Errorf("%w: %w", err, cause)
		}
		return core.Combine(allOutcomes(intents, core.NotSent, err))
	}
	if err := exec(ctx, intents...); err != nil {
		return core.Combine(core.OutcomesOf(err, intents))
	}
	return nil
}
