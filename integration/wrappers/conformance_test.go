package wrappers_test

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/goairlock/airlock"
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

// wrapper puts something around an executor; it gets a second one that works
// for the same handlers, for wrappers that have several destinations.
type wrapper func(t conformance.T, exec, other core.Executor) core.Executor

// wrappers has every wrapper of compose, and the scope, set up so that nothing
// changes that the suite could see.
var wrappers = map[string]wrapper{
	"retry": func(_ conformance.T, exec, _ core.Executor) core.Executor {
		return compose.WithRetry(exec, compose.Retry{Attempts: 1})
	},
	"timeout": func(_ conformance.T, exec, _ core.Executor) core.Executor {
		return compose.WithTimeout(exec, 24*time.Hour)
	},
	"log": func(_ conformance.T, exec, _ core.Executor) core.Executor {
		return compose.WithLog(exec, slog.New(slog.DiscardHandler))
	},
	"headers": func(_ conformance.T, exec, _ core.Executor) core.Executor {
		return compose.WithHeaders(exec, func(context.Context) map[string]string { return nil })
	},
	"strip": func(_ conformance.T, exec, _ core.Executor) core.Executor {
		return compose.Strip(exec)
	},
	"priority": func(_ conformance.T, exec, _ core.Executor) core.Executor {
		return compose.WithPriority(exec, exec, 0)
	},
	"route": func(_ conformance.T, exec, other core.Executor) core.Executor {
		return compose.Route(compose.ByTask, map[string]core.Executor{"test.elsewhere": other}, exec)
	},
	"fallback": func(_ conformance.T, exec, _ core.Executor) core.Executor {
		return compose.WithFallback(exec, exec)
	},
	"split": func(_ conformance.T, exec, other core.Executor) core.Executor {
		return compose.Split(exec, compose.Share{Percent: 0.0001, To: exec})
	},
	"mirror": func(t conformance.T, exec, _ core.Executor) core.Executor {
		m, err := compose.NewMirror(func(context.Context, ...core.Intent) error { return nil }, nil)
		if err != nil {
			t.Fatalf("NewMirror: %v", err)
		}
		t.Cleanup(func() { m.Stop(context.Background()) }) // copies into nothing: no error to tell
		return m.Wrap(exec)
	},
	"scope": throughScope,
}

// throughScope adds a call's intents to a scope. To a scope a duplicate is no
// failure, so the answer is what the executor told the scope.
func throughScope(_ conformance.T, exec, _ core.Executor) core.Executor {
	return func(ctx context.Context, intents ...core.Intent) error {
		var answer error
		witness := func(ctx context.Context, intents ...core.Intent) error {
			answer = exec(ctx, intents...)
			return answer
		}
		err := airlock.Run(ctx, witness, func(ctx context.Context) error { return airlock.Add(ctx, intents...) })
		if err == nil {
			err = answer
		}
		return err
	}
}

// allAtOnce puts every wrapper around the other.
func allAtOnce(t conformance.T, exec, other core.Executor) core.Executor {
	for _, name := range slices.Sorted(maps.Keys(wrappers)) {
		exec = wrappers[name](t, exec, other)
	}
	return exec
}

// Where jobs run within the call, a limit of the call is one of the jobs, which
// the suite sees. A pool shows that nothing else changes.
func limitsJobs(base, wrapper string) bool {
	return base == "sync" && (wrapper == "timeout" || wrapper == "all at once")
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
					New: func(ct conformance.T, s conformance.Setup) conformance.System {
						sys := newSystem(ct, s)
						// Guarded, since a scope answers bad input before any executor sees it.
						sys.Exec = core.Guard(sys.Caps, wrap(ct, sys.Exec, newSystem(ct, s).Exec))
						return sys
					},
				})
			})
		}
	}
}
