package airlock

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/goairlock/airlock/core"
)

func (s *scope) flush(ctx context.Context) error {
	if !s.end(ScopeFlushed) {
		return fmt.Errorf("airlock: flush: %w", ErrScopeClosed)
	}
	if len(s.intents) == 0 {
		return nil
	}
	if s.joins {
		if err := s.outer.capture(s.set.children, s.intents, s.meta); err != nil {
			return notSent(s.intents, err)
		}
		return nil
	}
	if s.set.flushLimit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), s.set.flushLimit)
		defer cancel()
	}
	ctx = withoutScopes(ctx)
	intents, err := s.leaving(ctx)
	if err != nil {
		return notSent(intents, err)
	}
	return s.send(ctx, intents)
}

// leaving returns the intents that this scope has to send: those that no outer
// scope captures and that the policies allow. With an error it returns those that
// stay undelivered.
func (s *scope) leaving(ctx context.Context) (intents []core.Intent, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &core.PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	intents, meta := s.intents, s.meta
	if !s.transactional {
		for outer := s.outer; outer != nil && len(intents) > 0; outer = outer.outer {
			if intents, meta, err = outer.captureFrom(ctx, s, intents, meta); err != nil {
				return intents, err
			}
		}
	}
	if !slices.ContainsFunc(meta, func(m intentMeta) bool { return m.chain.filters }) {
		return intents, nil
	}
	judging := (&scopeChain{scope: s, judging: true}).attach(ctx)
	allowed := make([]core.Intent, 0, len(intents))
	for i := range intents {
		if meta[i].chain.allows(judging, &intents[i]) {
			allowed = append(allowed, intents[i])
		}
	}
	return allowed, nil
}

// captureFrom captures what OnDescendantFlush asks for and returns the rest. With
// an error it has captured nothing and returns everything.
func (s *scope) captureFrom(ctx context.Context, inner *scope, intents []core.Intent, meta []intentMeta) ([]core.Intent, []intentMeta, error) {
	if s.set.captures == nil {
		return intents, meta, nil
	}
	var taken, left []core.Intent
	var takenMeta, leftMeta []intentMeta
	for i := range intents {
		if s.set.captures(ctx, intents[i]) {
			taken, takenMeta = append(taken, intents[i]), append(takenMeta, meta[i])
		} else {
			left, leftMeta = append(left, intents[i]), append(leftMeta, meta[i])
		}
	}
	if len(taken) == 0 {
		return intents, meta, nil
	}
	if err := s.capture(inner.set.children, taken, takenMeta); err != nil {
		return intents, meta, err
	}
	return left, leftMeta, nil
}

// send calls the executor.
func (s *scope) send(ctx context.Context, intents []core.Intent) error {
	if len(intents) == 0 {
		return nil
	}
	if s.set.children != nil {
		s.mu.Lock() // Intents may be called meanwhile
		s.set.children.assign(intents)
		s.mu.Unlock()
	}
	if ctx.Err() != nil {
		return notSent(intents, core.ContextError(ctx))
	}
	err := s.exec.Call(ctx, intents)
	if err == nil {
		s.noteSent(intents)
		return nil
	}
	outcomes := core.OutcomesOf(err, intents)
	if s.set.continueOnError {
		sendUntried(ctx, s.exec, intents, outcomes)
	}
	sent, err := newFlushError(intents, outcomes)
	s.noteSent(sent)
	return err
}

func (s *scope) noteSent(intents []core.Intent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = intents
}

// sendUntried sends again, until each intent has been tried once, and updates the
// outcomes.
func sendUntried(ctx context.Context, exec core.Executor, intents []core.Intent, outcomes []core.Outcome) {
	call := outcomes // of the last call
	var places []int // of the call's intents among all; nil for the first call
	for ctx.Err() == nil {
		rest := untried(call)
		if len(rest) == 0 || len(rest) == len(call) {
			return
		}
		batch := make([]core.Intent, len(rest))
		for k, i := range rest {
			if places != nil {
				rest[k] = places[i]
			}
			batch[k] = intents[rest[k]]
		}
		places = rest
		call = core.OutcomesOf(exec.Call(ctx, batch), batch)
		for k, o := range call {
			outcomes[places[k]] = o
		}
	}
}

// untried returns the positions of the intents that the executor has not tried in
// a call: those after one that failed, and those next to one that was refused. An
// executor that stopped without saying so, with [core.ErrEarlierFailed], has not
// tried what was not sent.
func untried(call []core.Outcome) []int {
	var refused, failed, says bool
	for i := range call {
		switch call[i].State {
		case core.Rejected:
			refused = true
		case core.Failed, core.Unknown:
			failed = true
		case core.NotSent:
			says = says || errors.Is(call[i].Err, core.ErrEarlierFailed)
		}
	}
	var at []int
	for i := range call {
		if call[i].State != core.NotSent {
			continue
		}
		if refused || failed && !says || errors.Is(call[i].Err, core.ErrEarlierFailed) {
			at = append(at, i)
		}
	}
	return at
}
