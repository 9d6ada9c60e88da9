package mutants

import (
	"context"
	"time"

	"github.com/goairlock/airlock/core"
)

// answering makes an executor that answers Check itself.
func answering(next core.Executor, check func(context.Context, []core.Intent) error) core.Executor {
	return func(ctx context.Context, intents ...core.Intent) error {
		if len(intents) == 0 {
			core.Answer(ctx, next.Capabilities, check)
			return nil
		}
		return next(ctx, intents...)
	}
}

// answers makes a bug of one way to answer Check.
func answers(check func(next core.Executor, s *system, intents []core.Intent) error) bug {
	return bug{outer: func(next core.Executor, s *system) core.Executor {
		return answering(next, func(_ context.Context, intents []core.Intent) error { return check(next, s, intents) })
	}}
}

// declares makes a bug of one way to answer Capabilities.
func declares(change func(core.Capabilities) func() (core.Capabilities, bool)) bug {
	return bug{outer: func(next core.Executor, _ *system) core.Executor {
		caps, _ := next.Capabilities()
		answer := change(caps)
		return func(ctx context.Context, intents ...core.Intent) error {
			if len(intents) == 0 {
				core.Answer(ctx, answer, func(ctx context.Context, in []core.Intent) error { return next.Check(ctx, in...) })
				return nil
			}
			return next(ctx, intents...)
		}
	}}
}

var questionMutants = []Variant{
	queue("shares-its-claims", "Q01", "gives the map of its own claims to those who ask", declares(func(c core.Capabilities) func() (core.Capabilities, bool) {
		return func() (core.Capabilities, bool) { return c, true }
	})),
	queue("answers-for-another", "Q01", "answers with capabilities that it does not have", declares(func(c core.Capabilities) func() (core.Capabilities, bool) {
		return func() (core.Capabilities, bool) {
			other := c.Clone()
			other.MaxPayload *= 2
			return other, true
		}
	})),
	queue("finds-nothing-wrong", "Q02", "answers every Check with nil", answers(func(core.Executor, *system, []core.Intent) error { return nil })),
	queue("checks-the-first", "Q02", "checks the first intent alone", answers(func(next core.Executor, _ *system, intents []core.Intent) error {
		return next.Check(context.Background(), intents[:min(1, len(intents))]...)
	})),
	queue("checks-more-strictly", "Q02", "finds wrong what it takes", answers(func(next core.Executor, _ *system, intents []core.Intent) error {
		for i := range intents {
			if intents[i].Options.Priority == 10 {
				return core.ErrUnsupported
			}
		}
		return next.Check(context.Background(), intents...)
	})),
	queue("checks-by-another-name", "Q02", "calls everything invalid that it refuses", answers(func(next core.Executor, _ *system, intents []core.Intent) error {
		if next.Check(context.Background(), intents...) != nil {
			return core.ErrInvalid
		}
		return nil
	})),
	queue("asking-dispatches", "Q03", "stores what it is asked about", answers(func(next core.Executor, s *system, intents []core.Intent) error {
		err := next.Check(context.Background(), intents...)
		if err == nil && len(intents) > 0 {
			return s.store.addAll(intents[:1])
		}
		return err
	})),
	queue("asking-takes-the-id", "Q03", "remembers the ID that it is asked about", answers(func(next core.Executor, s *system, intents []core.Intent) error {
		s.store.mu.Lock()
		defer s.store.mu.Unlock()
		for i := range intents {
			if intents[i].ChosenID() && s.setup.Slots == 2 {
				s.store.ids[intents[i].ID] = time.Now().Add(idWindow)
			}
		}
		return next.Check(context.Background(), intents...)
	})),
	onLine("asks-its-broker", "Q04", "sends a request for each question", lineBug{asksBroker: true}),
}
