package wrappers_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
	poolexec "github.com/goairlock/airlock/executors/pool"
	syncexec "github.com/goairlock/airlock/executors/sync"
)

// base makes one of the executors that are wrapped.
type base func(t conformance.T, s conformance.Setup) conformance.System

func newSync(t conformance.T, s conformance.Setup) conformance.System {
	exec, err := syncexec.New(&syncexec.Options{Registry: s.Registry})
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	return conformance.System{Exec: exec.Execute, Caps: exec.Capabilities(), Inline: true}
}

func newPool(t conformance.T, s conformance.Setup) conformance.System {
	workers := max(s.Slots, 1)
	exec, err := poolexec.New(&poolexec.Options{Registry: s.Registry, Workers: workers})
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		exec.Stop(ctx) // what is left is listed, and not wanted
	})
	return conformance.System{
		Exec: exec.Execute, Caps: exec.Capabilities(), Stop: exec.Stop, StopAccepting: true, Slots: workers,
	}
}

// wrapper wraps an executor. For wrappers with several destinations it gets a
// second executor with the same handlers.
type wrapper func(t *wrapping, exec, other core.Executor) core.Executor

// wrapping is a system that gets wrappers. Its Stop stops those too that need it.
type wrapping struct {
	conformance.T
	stops []func(context.Context) error
}

// wrappers has every wrapper of compose, and the scope, set up so that the suite
// sees no difference.
var wrappers = map[string]wrapper{
	"retry": func(_ *wrapping, exec, _ core.Executor) core.Executor {
		return compose.WithRetry(exec, compose.Retry{Attempts: 1})
	},
	"timeout": func(_ *wrapping, exec, _ core.Executor) core.Executor {
		return compose.WithTimeout(exec, 24*time.Hour)
	},
	"log": func(_ *wrapping, exec, _ core.Executor) core.Executor {
		return compose.WithLog(exec, slog.New(slog.DiscardHandler))
	},
	"headers": func(_ *wrapping, exec, _ core.Executor) core.Executor {
		return compose.WithHeaders(exec, func(context.Context) map[string]string { return nil })
	},
	"strip": func(_ *wrapping, exec, _ core.Executor) core.Executor {
		return compose.Strip(exec)
	},
	"priority": func(_ *wrapping, exec, _ core.Executor) core.Executor {
		return compose.WithPriority(exec, exec, 0)
	},
	"route": func(_ *wrapping, exec, other core.Executor) core.Executor {
		return compose.Route(compose.ByTask, map[string]core.Executor{"test.elsewhere": other}, exec)
	},
	"fallback": func(_ *wrapping, exec, _ core.Executor) core.Executor {
		return compose.WithFallback(exec, exec)
	},
	"split": func(_ *wrapping, exec, other core.Executor) core.Executor {
		return compose.NewSplit(exec, compose.Share{Percent: 0.0001, To: exec}).Execute
	},
	"mirror": func(t *wrapping, exec, _ core.Executor) core.Executor {
		m, err := compose.NewMirror(func(context.Context, ...core.Intent) error { return nil }, nil)
		if err != nil {
			t.Fatalf("NewMirror: %v", err)
		}
		stop := func(ctx context.Context) error { m.Stop(ctx); return nil } // it copies to nothing, so it loses nothing
		t.stops = append(t.stops, stop)
		t.Cleanup(func() { stop(context.Background()) })
		return m.Wrap(exec)
	},
	"scope": throughScope,
}

// throughScope adds a call's intents to a scope. A duplicate is no failure for a
// scope, so the answer is what the executor answered to the scope. A scope judges
// bad input before any executor sees it, and cannot be asked: a Guard with the
// executor's capabilities does both in its place.
func throughScope(t *wrapping, exec, _ core.Executor) core.Executor {
	caps, ok := exec.Capabilities()
	if !ok {
		t.Fatalf("the executor has no capabilities")
	}
	return adapter.Guard(caps, func(ctx context.Context, intents ...core.Intent) error {
		var answer error
		witness := func(ctx context.Context, intents ...core.Intent) error {
			err := exec(ctx, intents...)
			if len(intents) > 0 { // not a question
				answer = err
			}
			return err
		}
		err := airlock.Run(ctx, witness, func(ctx context.Context) error { return airlock.Add(ctx, intents...) })
		if err == nil {
			err = answer
		}
		return err
	})
}

// allAtOnce puts every wrapper around the other.
func allAtOnce(t *wrapping, exec, other core.Executor) core.Executor {
	for _, name := range slices.Sorted(maps.Keys(wrappers)) {
		exec = wrappers[name](t, exec, other)
	}
	return exec
}

// limitsJobs reports whether the wrapper's time limit of a call also limits the
// jobs, because they run within the call. The suite sees that. The pool shows that
// nothing else changes.
func limitsJobs(base, wrapper string) bool {
	return base == "sync" && (wrapper == "timeout" || wrapper == "all at once")
}

// waivers says what a wrapper changes that the suite sees.
func waivers(base, wrapper string) []conformance.Waiver {
	reason := ""
	switch {
	case base == "sync" && wrapper == "fallback":
		reason = "what is not sent because an earlier job of the call has failed goes to the fallback, and runs"
	case slices.Contains([]string{"priority", "route", "split", "all at once"}, wrapper):
		reason = "each destination gets its part of a call, so of two jobs with one key the later one may be first"
	default:
		return nil
	}
	return []conformance.Waiver{{
		Check: "M01", Reason: reason, Owner: "compose", Issue: wrapper, Expires: time.Date(2027, 12, 31, 0, 0, 0, 0, time.UTC),
	}}
}

func TestConformance(t *testing.T) {
	cases := maps.Clone(wrappers)
	cases["all at once"] = allAtOnce
	for baseName, newSystem := range map[string]base{"sync": newSync, "pool": newPool} {
		for name, wrap := range cases {
			if limitsJobs(baseName, name) {
				continue
			}
			t.Run(baseName+"/"+name, func(t *testing.T) {
				t.Parallel()
				conformance.Run(t, conformance.Harness{
					InBubble: true,
					Waivers:  waivers(baseName, name),
					New: func(ct conformance.T, s conformance.Setup) conformance.System {
						sys := newSystem(ct, s)
						w := &wrapping{T: ct}
						sys.Exec = wrap(w, sys.Exec, newSystem(ct, s).Exec)
						if stop := sys.Stop; stop != nil && len(w.stops) > 0 {
							sys.Stop = func(ctx context.Context) error {
								err := stop(ctx)
								for _, stop := range w.stops {
									err = errors.Join(err, stop(ctx))
								}
								return err
							}
						}
						caps, ok := sys.Exec.Capabilities()
						if !ok {
							ct.Fatalf("the wrapper does not say what it can do")
						}
						sys.Caps = caps // of a wrapper over several executors, what all of them can do
						return sys
					},
				})
			})
		}
	}
}
