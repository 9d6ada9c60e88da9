package conformance

import (
	"context"
	"sync"

	"github.com/goairlock/airlock/conformance/faultproxy"
)

// RunWorker gives sys a worker with a method Run that works until its context ends,
// as the workers of all executor packages do. It sets Start and Stop, starts the
// worker unless the check wants it paused, and stops it when the check ends. Stop
// returns what run returns, or the error of its context if that ends first.
func RunWorker(t T, s Setup, sys *System, run func(ctx context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	var once sync.Once
	var err error // set before done is closed
	sys.Start = func(context.Context) error {
		once.Do(func() {
			go func() {
				defer close(done)
				err = run(ctx)
			}()
		})
		return nil
	}
	end := func() {
		cancel()
		once.Do(func() { close(done) }) // it was never started
	}
	sys.Stop = func(ctx context.Context) error {
		end()
		select {
		case <-done:
			return err
		default:
		}
		select {
		case <-done:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	t.Cleanup(func() {
		end()
		<-done
	})
	if !s.Paused {
		sys.Start(ctx) //nolint:errcheck // it returns nil
	}
}

// Lines are the two ways from a system to its backend: one for the executor and one
// for the worker.
type Lines struct {
	// ExecutorAddr and WorkerAddr are the addresses to connect to.
	ExecutorAddr, WorkerAddr string

	executor, worker *faultproxy.Proxy
}

// NewLines makes the lines of a system to the backend at addr, a TCP address. If the
// check breaks connections (Setup.Faults), each line leads through a proxy of its
// own, which is closed when the check ends. Otherwise both lead straight to addr.
func NewLines(t T, s Setup, addr string) *Lines {
	l := &Lines{ExecutorAddr: addr, WorkerAddr: addr}
	if !s.Faults {
		return l
	}
	proxy := func() *faultproxy.Proxy {
		p, err := faultproxy.New(addr)
		if err != nil {
			t.Fatalf("lines: %v", err)
		}
		t.Cleanup(p.Close)
		return p
	}
	l.executor, l.worker = proxy(), proxy()
	l.ExecutorAddr, l.WorkerAddr = l.executor.Addr(), l.worker.Addr()
	return l
}

// SetProxies gives the proxies to the suite, if there are any.
func (l *Lines) SetProxies(sys *System) { sys.Proxy, sys.WorkerProxy = l.executor, l.worker }
