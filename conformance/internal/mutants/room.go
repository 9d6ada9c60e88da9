package mutants

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/goairlock/airlock/core"
)

// roomOf is how many jobs wait at most in the pools of this file.
const roomOf = 64

// crowded makes a pool with another way of waiting for room.
func crowded(dispatch func(ctx context.Context, next core.Executor, s *system, intents []core.Intent) error) bug {
	b := boundedPool(roomOf, nil)
	b.inner = func(next core.Executor, s *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error { return dispatch(ctx, next, s, intents) }
	}
	return b
}

// oneByOne sends each intent when there is room for it, or with the error of wait.
func oneByOne(ctx context.Context, next core.Executor, intents []core.Intent, wait func() error) []core.Outcome {
	var out []core.Outcome
	for _, in := range intents {
		err := wait()
		if err == nil {
			err = next(ctx, in)
		}
		out = append(out, core.OutcomesOf(err, []core.Intent{in})...)
	}
	return out
}

// roomMutants go wrong where calls wait for room in a full pool.
var roomMutants = []Variant{
	queue("pool-gives-up-the-whole-call", AnyEnding, "reports every intent of a call as not sent whose context ends while it waits for room", crowded(
		func(ctx context.Context, next core.Executor, s *system, intents []core.Intent) error {
			out := oneByOne(ctx, next, intents, func() error { return s.awaitRoom(ctx, roomOf, nil) })
			if err := ctx.Err(); err != nil && len(out) > 1 {
				out = outcomes(intents, core.NotSent, err)
			}
			return core.Combine(out)
		})),
	queue("pool-waits-for-all-its-room", "L16", "lets a call that finds the pool full wait until there is room for all of it, which may be never", crowded(
		func(ctx context.Context, next core.Executor, s *system, intents []core.Intent) error {
			s.store.mu.Lock()
			full := len(s.store.ready)+len(s.store.later) >= roomOf
			s.store.mu.Unlock()
			if most := max(roomOf+1-len(intents), 0); full {
				if err := s.awaitRoom(ctx, most, nil); err != nil {
					return core.Combine(outcomes(intents, core.NotSent, err))
				}
			}
			return core.Combine(oneByOne(ctx, next, intents, func() error { return s.awaitRoom(ctx, roomOf, nil) }))
		})),
	queue("pool-forgets-who-waits", "L16", "does not wake calls that wait for room when it is stopped", crowded(
		func(ctx context.Context, next core.Executor, s *system, intents []core.Intent) error {
			return core.Combine(oneByOne(ctx, next, intents, func() error {
				for {
					s.store.mu.Lock()
					wake, waiting := s.store.wake, len(s.store.ready)+len(s.store.later)
					s.store.mu.Unlock()
					if waiting < roomOf {
						return nil
					}
					select {
					case <-wake:
					case <-ctx.Done():
						return fmt.Errorf("%w: %w", core.ErrUnavailable, ctx.Err())
					}
				}
			}))
		})),
	queue("pool-looks-for-keys-before-it-waits", "L16", "does not look again for IDs and unique keys when a call has waited for room", crowded(
		func(ctx context.Context, next core.Executor, s *system, intents []core.Intent) error {
			var out []core.Outcome
			for _, in := range intents {
				s.store.mu.Lock()
				free, full := s.store.free(in, time.Now()), len(s.store.ready)+len(s.store.later) >= roomOf
				s.store.mu.Unlock()
				err := s.awaitRoom(ctx, roomOf, nil)
				if err == nil && free && full {
					s.store.mu.Lock()
					s.store.forget(in)
					s.store.mu.Unlock()
				}
				if err == nil {
					err = next(ctx, in)
				}
				out = append(out, core.OutcomesOf(err, []core.Intent{in})...)
			}
			return core.Combine(out)
		})),
	queue("pool-counts-duplicates", "L16", "counts an intent that is sent again as one more job that waits", func() bug {
		var mu sync.Mutex
		lost := map[*system]int{}
		return crowded(func(ctx context.Context, next core.Executor, s *system, intents []core.Intent) error {
			mu.Lock()
			room := max(roomOf-lost[s]/4, 0)
			mu.Unlock()
			return core.Combine(oneByOne(ctx, func(ctx context.Context, intents ...core.Intent) error {
				s.store.mu.Lock()
				known := !s.store.free(intents[0], time.Now())
				s.store.mu.Unlock()
				if known {
					mu.Lock()
					lost[s]++
					mu.Unlock()
				}
				return next(ctx, intents...)
			}, intents, func() error { return s.awaitRoom(ctx, room, nil) }))
		})
	}()),
}

// crowd makes a bug that loses delayed jobs if more than n are due and cannot start.
func crowd(n int) bug {
	return bug{admit: func(s *store, j *job) bool {
		if time.Until(j.at) <= 0 {
			return true
		}
		time.AfterFunc(time.Until(j.at)+10*time.Millisecond, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			due := 0
			for i, other := range s.later {
				if other.at.After(time.Now()) {
					break
				}
				if due++; due > n {
					s.later = append(s.later[:i:i], s.later[i+1:]...)
					break
				}
			}
		})
		return true
	}}
}

var crowdMutants = []Variant{
	queue("loses-a-crowd", "P26", "loses delayed jobs if more than 64 are due and none can start", crowd(64)),
	inPool("pool-loses-a-crowd", "P26", "loses delayed jobs if more than 100 are due and none can start", 10_000, crowd(100)),
}
