package poolexec_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
	poolexec "github.com/goairlock/airlock/executors/pool"
)

func TestConformance(t *testing.T) {
	conformance.Run(t, conformance.Harness{
		Subject:  conformance.Subject{Name: "pool", Module: "github.com/goairlock/airlock/executors/pool"},
		InBubble: true,
		Inspects: true,
		New:      newSystem,
	})
}

func newSystem(t conformance.T, s conformance.Setup) conformance.System {
	workers := s.Slots
	if workers == 0 {
		workers = 8
	}
	exec, err := poolexec.New(&poolexec.Options{Registry: s.Registry, Workers: workers, Capacity: s.Room, Logger: s.Logger})
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	view, err := poolexec.NewInspector(exec)
	if err != nil {
		t.Fatalf("NewInspector: %v", err)
	}
	sys := conformance.System{
		Inspector: view,
		Exec:      exec.Execute, Caps: exec.Capabilities(),
		Stop: exec.Stop, StopAccepting: true, Slots: workers,
	}
	start := func(context.Context) error { return nil }
	if s.Paused {
		start = occupy(t, exec, workers)
		sys.Start = start
		sys.Stop = func(ctx context.Context) error { return errors.Join(start(ctx), exec.Stop(ctx)) }
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		start(ctx)     // else what occupies the workers would keep them
		exec.Stop(ctx) // what is left is listed, and not wanted
	})
	return sys
}

// occupy keeps every worker of the pool busy until the function it returns is
// called: a pool that has to wait.
func occupy(t conformance.T, exec *poolexec.Executor, workers int) func(context.Context) error {
	running, release := make(chan struct{}), make(chan struct{})
	gate := core.NewTask("conformance.gate", func(context.Context, int) error {
		running <- struct{}{}
		<-release
		return nil
	}, core.Priority(10))
	for i := range workers {
		in, err := gate.Intent(i)
		if err != nil {
			t.Fatalf("gate: %v", err)
		}
		if err := exec.Execute(t.Context(), in); err != nil {
			t.Fatalf("gate: %v", err)
		}
		<-running
	}
	free := sync.OnceFunc(func() { close(release) })
	return func(context.Context) error {
		free()
		return nil
	}
}
