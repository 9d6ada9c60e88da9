package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/goairlock/airlock/internal/loopback"
)

// ErrExternal is returned by Kill, Restart and Stop for a server that was named in the environment: it is not ours to stop.
var ErrExternal = errors.New("servers: the server comes from the environment and was not started by this test")

// ErrStopped is returned by Kill and Restart after Stop: the data are gone.
var ErrStopped = errors.New("servers: the server is stopped and its data are removed")

// patience bounds a start, and a stop before it turns into a kill. A start takes a second or two, that of RabbitMQ ten seconds of
// CPU, and on a machine whose CPUs are all taken ten to twenty times that.
const patience = 5 * time.Minute

// An engine runs one server. Its methods are never called concurrently.
type engine interface {
	start(context.Context) error // returns when clients are served
	kill() error                 // without warning
	stop() error                 // in good order
	output() string              // what the server said last
}

// An instance is what all servers have in common: an engine that goes on and off over ports and a folder that stay.
type instance struct {
	name   string
	dir    string
	ports  []*loopback.Port
	engine engine // nil for an external server

	mu      sync.Mutex // guards what follows, and serialises the engine
	running bool
	stopped bool
}

// Kill ends the server without warning, as kill -9 does, and waits until it is gone. It does nothing when the server is not
// running. Errors: [ErrExternal], [ErrStopped], and the system's when the process cannot be killed.
func (i *instance) Kill() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if err := i.usable(); err != nil || !i.running {
		return err
	}
	i.running = false
	return i.wrap("kill", i.engine.kill())
}

// Restart starts the server again at the same address with the same data, and returns when it serves clients; a server that
// is running is stopped in good order first. Errors: [ErrExternal], [ErrStopped], and one with the server's last output when it
// is not ready within five minutes.
func (i *instance) Restart() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if err := i.usable(); err != nil {
		return err
	}
	if i.running {
		i.running = false
		if err := i.wrap("stop", i.engine.stop()); err != nil {
			return err
		}
	}
	return i.start()
}

// A pauser is an engine whose server can be stopped in the middle of its work.
type pauser interface {
	pause() error
	resume() error
}

// Pause stops the server as SIGSTOP does: connections stay open and nothing answers. Errors: [ErrExternal], [ErrStopped], and
// [errors.ErrUnsupported] for a server in the test's process and on systems other than Linux.
func (i *instance) Pause() error { return i.pausing("pause", pauser.pause) }

// Resume ends a Pause.
func (i *instance) Resume() error { return i.pausing("resume", pauser.resume) }

func (i *instance) pausing(what string, do func(pauser) error) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if err := i.usable(); err != nil || !i.running {
		return err
	}
	p, ok := i.engine.(pauser)
	if !ok {
		return i.wrap(what, errors.ErrUnsupported)
	}
	return i.wrap(what, do(p))
}

// Stop stops the server in good order, waits until it is gone, removes its data and gives its port back. Further calls do
// nothing. Errors: [ErrExternal], and one when the server had to be killed after five minutes or its data cannot be removed.
func (i *instance) Stop() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.engine == nil {
		return ErrExternal
	}
	return i.dispose()
}

// dispose needs mu. The engine may be missing, when its server could not even be prepared.
func (i *instance) dispose() error {
	if i.stopped {
		return nil
	}
	i.stopped = true
	var err error
	if i.running {
		i.running = false
		err = i.engine.stop()
	}
	for _, port := range i.ports {
		port.Release()
	}
	return i.wrap("stop", errors.Join(err, os.RemoveAll(i.dir)))
}

// usable needs mu.
func (i *instance) usable() error {
	switch {
	case i.engine == nil:
		return ErrExternal
	case i.stopped:
		return ErrStopped
	}
	return nil
}

// start needs mu.
func (i *instance) start() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := i.engine.start(ctx); err != nil {
		return fmt.Errorf("servers: start %s: %w\n%s", i.name, errors.Join(err, i.engine.kill()), i.engine.output())
	}
	i.running = true
	return nil
}

func (i *instance) wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("servers: %s %s: %w", what, i.name, err)
}

// prepare makes the folder and reserves the ports of an instance that Cleanup will stop. Its engine is still to be set.
func prepare(tb testing.TB, name string, ports int) *instance {
	tb.Helper()
	dir, err := os.MkdirTemp(inMemory(), "airlock-"+name+"-")
	if err != nil {
		tb.Fatalf("servers: %v", err)
	}
	i := &instance{name: name, dir: dir}
	tb.Cleanup(func() { i.cleanup(tb) })
	for range ports {
		port, err := loopback.Reserve()
		if err != nil {
			tb.Fatalf("servers: %v", err)
		}
		i.ports = append(i.ports, port)
	}
	return i
}

func (i *instance) cleanup(tb testing.TB) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if tb.Failed() && i.engine != nil {
		if output := i.engine.output(); output != "" {
			tb.Logf("last output of %s:\n%s", i.name, output)
		}
	}
	if err := i.dispose(); err != nil {
		tb.Error(err)
	}
}

// run gives the instance its engine and starts it.
func (i *instance) run(tb testing.TB, e engine) {
	tb.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.engine = e
	if err := i.start(); err != nil {
		tb.Fatal(err)
	}
}

const (
	pollEvery = 5 * time.Millisecond // between two looks at a server that is starting
	pollLimit = time.Second          // for one look: a server may take a request and never answer it
)

// poll calls try until it succeeds, and returns its last error when ctx is over or abort is closed.
func poll(ctx context.Context, abort <-chan struct{}, try func(context.Context) error) error {
	return pollWithin(ctx, abort, pollLimit, try)
}

// pollWithin is poll with another limit for one look.
func pollWithin(ctx context.Context, abort <-chan struct{}, limit time.Duration, try func(context.Context) error) error {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		once, cancel := context.WithTimeout(ctx, limit)
		err := try(once)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("not ready in time: %w", err)
		case <-abort:
			return fmt.Errorf("ended instead of getting ready: %w", err)
		}
	}
}
