package mutants

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/goairlock/airlock/core"
)

var numbers atomic.Int64

func nextNumber() int64 { return numbers.Add(1) }

// dropping makes an executor that returns nil and drops some intents.
func dropping(forget func(n int, in core.Intent, of int) bool) func(core.Executor, *system) core.Executor {
	return func(next core.Executor, _ *system) core.Executor {
		var sent atomic.Int64
		return func(ctx context.Context, intents ...core.Intent) error {
			var kept []core.Intent
			for i, in := range intents {
				if n := int(sent.Add(1)); !forget(n, in, len(intents)-i) {
					kept = append(kept, in)
				}
			}
			return next(ctx, kept...)
		}
	}
}

// twice runs each accepted job again after a while, although it is stored once.
func twice(after time.Duration) bug {
	return bug{admit: func(s *store, j *job) bool {
		again := *j
		time.AfterFunc(after, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.put(&again, time.Now())
		})
		return true
	}}
}

// payloads changes the stored payloads.
func payloads(change func([]byte) []byte) bug {
	return bug{admit: func(_ *store, j *job) bool {
		j.payload = change(j.payload)
		return true
	}}
}

// jobHeaders changes the stored headers.
func jobHeaders(change func(map[string]string) map[string]string) bug {
	return bug{admit: func(_ *store, j *job) bool {
		m := map[string]string{}
		for k, v := range j.headers.All() {
			m[k] = v
		}
		j.headers = core.NewHeaders(change(m))
		return true
	}}
}

// without drops options that are declared as honoured.
func without(names ...core.OptionName) bug {
	return bug{inner: func(next core.Executor, _ *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			plain := make([]core.Intent, len(intents))
			for i := range intents {
				plain[i] = intents[i].Without(names...)
			}
			return next(ctx, plain...)
		}
	}}
}

// batchOnly applies a change to calls of more than one intent.
func batchOnly(b bug) bug {
	changed := b.inner
	b.inner = func(next core.Executor, s *system) core.Executor {
		other := changed(next, s)
		return func(ctx context.Context, intents ...core.Intent) error {
			if len(intents) > 1 {
				return other(ctx, intents...)
			}
			return next(ctx, intents...)
		}
	}
	return b
}

// refusing makes an executor that refuses intents that it declares to take.
func refusing(what func(core.Intent) bool, as error) func(core.Executor, *system) core.Executor {
	return func(next core.Executor, _ *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			var bad bool
			out := outcomes(intents, core.NotSent, core.ErrNotSent)
			for i := range intents {
				if what(intents[i]) {
					bad, out[i].State, out[i].Err = true, core.Rejected, as
				}
			}
			if bad {
				return core.Combine(out)
			}
			return next(ctx, intents...)
		}
	}
}

// yield lets the other goroutines run.
func yield() { time.Sleep(time.Microsecond) }
