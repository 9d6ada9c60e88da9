package otel_test

import (
	"context"
	"testing"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
	poolexec "github.com/goairlock/airlock/executors/pool"
	syncexec "github.com/goairlock/airlock/executors/sync"
	"github.com/goairlock/airlock/worker"
)

// away is a queue that cannot be reached.
func away(context.Context, ...core.Intent) error { return core.ErrUnavailable }

// awayOnce is a queue that cannot be reached at the first call.
func awayOnce(exec core.Executor) core.Executor {
	calls := 0
	return func(ctx context.Context, ins ...core.Intent) error {
		if len(ins) > 0 {
			if calls++; calls == 1 {
				return core.ErrUnavailable
			}
		}
		return exec(ctx, ins...)
	}
}

func TestTheLinkIsKeptThroughWrappers(t *testing.T) {
	t.Parallel()
	retry := compose.Retry{Backoff: core.Fixed(time.Millisecond)}
	for name, c := range map[string]struct {
		wrap func(e *testEnv, exec core.Executor) core.Executor
		sent int // spans of senders
		from int // which one of them the job is linked to
	}{
		"around a retry": {func(e *testEnv, exec core.Executor) core.Executor {
			return e.tel.Executor(compose.WithRetry(awayOnce(exec), retry))
		}, 1, 0},
		"inside a retry": {func(e *testEnv, exec core.Executor) core.Executor {
			return compose.WithRetry(e.tel.Executor(awayOnce(exec)), retry)
		}, 2, 1},
		"around a fallback": {func(e *testEnv, exec core.Executor) core.Executor {
			return e.tel.Executor(compose.WithFallback(away, exec))
		}, 1, 0},
		"inside a fallback": {func(e *testEnv, exec core.Executor) core.Executor {
			return compose.WithFallback(e.tel.Executor(away), e.tel.Executor(exec))
		}, 2, 1},
		"twice": {func(e *testEnv, exec core.Executor) core.Executor { // the outer one's headers win
			return e.tel.Executor(e.tel.Executor(exec))
		}, 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := setup(t, "sync")
			exec := c.wrap(e, openSync(e, e.simple()))
			ctx, request := e.request()
			e.must(exec(ctx, e.intent(parent)))
			sent, ran := e.ended(trace.SpanKindProducer), e.ended(trace.SpanKindConsumer)
			if len(sent) != c.sent || len(ran) != 1 {
				t.Fatalf("spans:\n%s", e.text())
			}
			if sent[0].Parent().SpanID() != request.SpanID() {
				t.Errorf("the sender has the parent %v", sent[0].Parent())
			}
			e.linkedTo(ran[0], sent[c.from])
			e.wantSum(c.sent, "messaging.client.sent.messages")
		})
	}
}

// simple is a registry whose handlers succeed.
func (e *testEnv) simple() *worker.Registry {
	e.Helper()
	done := func(context.Context, string) error { return nil }
	reg, err := worker.NewRegistry(e.tel.Middleware(), e.tel.Observer(), worker.Handle(parent, done), worker.Handle(child, done))
	e.must(err)
	return reg
}

func TestACopyIsLinkedToTheSenderOfItsOriginal(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string]func(e *testEnv, m *compose.Mirror, first core.Executor) core.Executor{
		"around": func(e *testEnv, m *compose.Mirror, first core.Executor) core.Executor {
			return e.tel.Executor(m.Wrap(first))
		},
		"inside": func(e *testEnv, m *compose.Mirror, first core.Executor) core.Executor {
			return m.Wrap(e.tel.Executor(first))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := setup(t, "sync")
			m, err := compose.NewMirror(e.tel.Executor(openSync(e, e.simple())), nil)
			e.must(err)
			exec := wrap(e, m, openSync(e, e.simple()))
			e.must(exec(e.Context(), e.intent(parent), e.intent(child)))
			e.must(m.Stop(t.Context()))
			sent, ran := e.ended(trace.SpanKindProducer), e.ended(trace.SpanKindConsumer)
			if len(sent) != 2 || len(ran) != 4 {
				t.Fatalf("spans:\n%s", e.text())
			}
			original, copied := sent[0], sent[1]
			if name == "inside" {
				// The mirror copies the intents that it was given: they have no headers yet.
				for _, s := range ran[2:] {
					e.linkedTo(s, copied)
				}
				return
			}
			if copied.Parent().IsValid() || len(copied.Links()) != 2 {
				t.Errorf("the sender of the copies has the parent %v and the links %v", copied.Parent(), copied.Links())
			}
			for _, s := range ran {
				e.linkedTo(s, original)
			}
		})
	}
}

func TestConformance(t *testing.T) {
	for name, open := range map[string]func(t conformance.T, s conformance.Setup) conformance.System{
		"sync": func(t conformance.T, s conformance.Setup) conformance.System {
			exec, err := syncexec.New(&syncexec.Options{Registry: s.Registry})
			if err != nil {
				t.Fatalf("New: %v", err)
			}
			return conformance.System{Exec: exec.Execute, Caps: exec.Capabilities(), Inline: true}
		},
		"pool": func(t conformance.T, s conformance.Setup) conformance.System {
			workers := max(s.Slots, 1)
			exec, err := poolexec.New(&poolexec.Options{Registry: s.Registry, Workers: workers, Logger: quiet})
			if err != nil {
				t.Fatalf("New: %v", err)
			}
			t.Cleanup(func() {
				ctx, cancel := context.WithCancel(context.Background())
				cancel()
				exec.Stop(ctx) // what is left is listed, and not wanted
			})
			return conformance.System{Exec: exec.Execute, Caps: exec.Capabilities(), Stop: exec.Stop, StopAccepting: true, Slots: workers}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// It adds no headers, so that the suite sees no difference.
			e := setupWith(t, name, propagation.NewCompositeTextMapPropagator())
			conformance.Run(t, conformance.Harness{
				InBubble: true,
				New: func(ct conformance.T, s conformance.Setup) conformance.System {
					sys := open(ct, s)
					sys.Exec = e.tel.Executor(sys.Exec)
					return sys
				},
			})
		})
	}
}
