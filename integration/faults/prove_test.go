package faults_test

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/goairlock/airlock/conformance/faultproxy"
)

// smallestRequest is longer than what clients send on their own account, such as an answer to a heartbeat.
const smallestRequest = 16

// proofs are the faults and what each must do to any client and server.
var proofs = []struct {
	name  string
	prove func(*world)
}{
	{"lost reply: carried out, and the client does not know", func(w *world) {
		w.proxy.LoseReplies()
		wantFailure := w.begin()
		w.wantDone(1)
		w.wantStats(func(s faultproxy.Stats) bool { return s.LostReplyBytes > 0 })
		wantFailure()
		w.wantRecovery(1)
	}},
	{"lost request: not carried out, and the client does not know", func(w *world) {
		w.proxy.LoseRequests()
		wantFailure := w.begin()
		w.wantStats(func(s faultproxy.Stats) bool { return s.LostRequestBytes >= smallestRequest })
		wantFailure()
		w.wantRecovery(0)
	}},
	{"down: refused, and up recovers", func(w *world) {
		w.proxy.Down()
		if err := w.victim.connect(w.ctx); err == nil {
			w.Error("the client connected while down")
		}
		// Some clients keep the cause to themselves.
		if _, err := net.Dial("tcp", w.proxy.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
			w.Errorf("dial while down: %v, want connection refused", err)
		}
		w.wantDone(0)
		w.must(w.proxy.Up())
		w.must(w.victim.connect(w.ctx))
		w.must(w.victim.do(w.ctx))
		w.wantDone(1)
	}},
	{"down: an open connection is of no use", func(w *world) {
		w.proxy.Down()
		if err := w.victim.do(w.ctx); err == nil {
			w.Error("an operation succeeded while down")
		}
		w.wantRecovery(0)
	}},
	{"cut within a request: not carried out", func(w *world) {
		w.proxy.CutAfter(w.opSize / 2)
		wantFailure := w.begin()
		w.wantStats(func(s faultproxy.Stats) bool { return s.Cut == 1 && s.LostRequestBytes > 0 })
		wantFailure()
		w.wantRecovery(0)
	}},
	{"cut after a request: carried out", func(w *world) {
		w.proxy.CutAfter(w.opSize)
		_ = w.victim.do(w.ctx) // the reply may have been quicker
		w.wantDone(1)
		w.wantStats(func(s faultproxy.Stats) bool { return s.Cut == 1 })
		w.wantRecovery(1)
	}},
	{"reset: ends what is under way", func(w *world) {
		w.proxy.Delay(time.Hour)
		wantFailure := w.begin()
		w.wantStats(func(s faultproxy.Stats) bool { return s.Delayed >= smallestRequest })
		wantFailure()
		w.wantRecovery(0)
	}},
	{"delay: each way", func(w *world) {
		const delay = 20 * time.Millisecond
		w.proxy.Delay(delay)
		start := time.Now()
		w.must(w.victim.do(w.ctx))
		if took := time.Since(start); took < 2*delay {
			w.Errorf("an operation took %v, want at least %v", took, 2*delay)
		}
		w.wantDone(1)
	}},
	{"slice: works in pieces", func(w *world) {
		w.proxy.Slice(1)
		w.must(w.victim.do(w.ctx))
		w.wantDone(1)
		if stats := w.proxy.Stats(); stats.Pieces < w.opSize {
			w.Errorf("%d pieces for a request of %d bytes", stats.Pieces, w.opSize)
		}
		w.must(w.victim.connect(w.ctx)) // a handshake too
		w.must(w.victim.do(w.ctx))
		w.wantDone(2)
	}},
}

// prove runs every proof on a victim of its own.
func prove(t *testing.T, target string, fresh newVictim) {
	for _, proof := range proofs {
		t.Run(proof.name, func(t *testing.T) {
			t.Parallel()
			proof.prove(setup(t, target, fresh))
		})
	}
}
