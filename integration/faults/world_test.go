package faults_test

import (
	"context"
	"testing"
	"time"

	"github.com/goairlock/airlock/conformance/faultproxy"
)

// patience bounds every wait for something that must happen. A run that passes never waits that long.
const patience = 2 * time.Minute

// A victim is a client of a real server, with a proxy in between. It does not retry.
type victim interface {
	// connect opens the client anew, through the proxy, ready for do.
	connect(context.Context) error
	// do is an operation that is not idempotent. Its second run on a connection is one request and one reply.
	do(context.Context) error
	// done counts the operations that the server has carried out. It does not use the proxy.
	done(context.Context) (int, error)
}

// A world is one victim of its own for one fault, connected and warm.
type world struct {
	*testing.T
	ctx    context.Context
	proxy  *faultproxy.Proxy
	victim victim
	opSize int64 // request bytes of one warm operation
	base   int   // operations carried out before the fault
}

// newVictim makes a victim with nothing done yet, and stops it with t.
type newVictim func(ctx context.Context, t *testing.T, proxyAddr string) victim

func setup(t *testing.T, target string, fresh newVictim) *world {
	t.Helper()
	proxy, err := faultproxy.New(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	w := &world{T: t, ctx: ctx, proxy: proxy, victim: fresh(ctx, t, proxy.Addr())}
	w.must(w.victim.connect(ctx))
	w.must(w.victim.do(ctx)) // clients prepare on first use
	before := proxy.Stats().RequestBytes
	w.must(w.victim.do(ctx))
	w.opSize = proxy.Stats().RequestBytes - before
	w.base = 2
	w.wantDone(0)
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// wantDone demands that exactly n operations were carried out since setup. It waits for the first n, but not for more.
func (w *world) wantDone(n int) {
	w.Helper()
	for {
		got, err := w.victim.done(w.ctx)
		w.must(err)
		switch {
		case got == w.base+n:
			return
		case got > w.base+n:
			w.Fatalf("the server carried out %d operations, want %d", got-w.base, n)
		}
	}
}

// wantStats waits for the witness of a fault.
func (w *world) wantStats(cond func(faultproxy.Stats) bool) {
	w.Helper()
	w.must(w.proxy.WaitFor(w.ctx, cond))
}

// begin starts an operation; the function it returns gives up on it and demands that it fail.
func (w *world) begin() (wantFailure func()) {
	ctx, cancel := context.WithCancel(w.ctx)
	result := make(chan error, 1)
	go func() { result <- w.victim.do(ctx) }()
	return func() {
		w.Helper()
		w.proxy.Reset()
		cancel()
		if err := <-result; err == nil {
			w.Error("the client believes that its operation succeeded")
		}
	}
}

// wantRecovery heals the proxy and demands that a new connection works, after n operations carried out.
func (w *world) wantRecovery(n int) {
	w.Helper()
	w.must(w.proxy.Heal())
	w.must(w.victim.connect(w.ctx))
	w.must(w.victim.do(w.ctx))
	w.wantDone(n + 1)
}
