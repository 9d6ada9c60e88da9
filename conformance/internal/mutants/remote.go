package mutants

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/conformance/faultproxy"
	"github.com/goairlock/airlock/core"
)

// lineBug says what is wrong with a system on the toy broker. The zero value is
// correct.
type lineBug struct {
	// of the client
	ignoresContext bool
	keepsCancelled bool          // reuses a connection on which a reply is still missing
	redialsForEver bool          // instead of reporting that the broker is down
	neverRedials   bool          // never works again after an error
	timeout        time.Duration // for replies to a put
	writeIsSuccess bool          // does not wait for the reply
	readsOnce      bool          // takes the result of one read for the whole reply

	// of the executor
	asksBroker bool                                // calls the broker to answer a question
	outcome    func(o *core.Outcome)               // changes the outcomes of a failed call
	broken     func(out []core.Outcome, chunk int) // changes them all together
	buffers    bool                                // returns nil while the broker is down, and sends later
	resends    bool                                // retries under new IDs

	// of the worker
	neverReconnects bool
	startsOnce      bool // a slot ends if its first fetch fails
	prefetches      bool // fetches more than it runs, and acknowledges it all after a lost connection
	silent          bool // does not renew its leases

	crashIsNeverLast bool // runs a job again whose last attempt's worker was killed
	lostAckIsDead    bool // buries a job if its acknowledgement failed
	lostAckIsRetry   bool // runs a job ten more times if its acknowledgement failed

	// of the broker
	forgetsOnRestart, forgetsIDsOnRestart, forgetsKeysOnRestart, idsPerConnection, keysPerConnection, dropsOldest bool
}

// remote is one executor on the toy broker, with its worker.
type remote struct {
	broker *broker
	client *client
	space  string
	room   int
	bug    *lineBug
}

// remoteCaps is what the correct system on the toy broker declares.
func remoteCaps() core.Capabilities {
	native := core.Claim{Support: core.SupportNative}
	return core.Capabilities{
		Executor: "toy", Delivery: core.GuaranteeAtLeastOnce, Durability: core.DurabilityBroker, DefaultAttempts: defaultAttempts,
		IDWindow: core.Window{Kind: core.WindowFixed, For: idWindow, Survives: core.SurvivalRestart},
		Options: map[core.OptionName]core.Claim{
			core.OptionID: native, core.OptionUnique: native, core.OptionHeader: native, core.OptionMaxAttempts: native,
			core.OptionTimeout: native, core.OptionDeadline: native,
		},
	}
}

// lineHarness is the harness of a system on a toy broker.
func lineHarness(b lineBug) conformance.Harness {
	br := &broker{bug: &b, spaces: map[string]*space{}}
	return conformance.Harness{
		Subject: conformance.Subject{Module: "toy"},
		Scale:   2,
		Settle:  150 * time.Millisecond,
		Lease:   lease,
		Shared:  []string{"mutants.(*broker)"}, // started by the first system, for all
		Restart: func(context.Context) error { return br.restart() },
		New:     func(t conformance.T, s conformance.Setup) conformance.System { return openRemote(t, s, br) },
	}
}

func openRemote(t conformance.T, s conformance.Setup, b *broker) conformance.System {
	done, err := b.use()
	if err != nil {
		t.Fatalf("broker: %v", err)
	}
	t.Cleanup(done)
	var sys conformance.System
	through := func() (string, *faultproxy.Proxy) {
		if !s.Faults {
			return b.port.Addr(), nil
		}
		proxy, err := faultproxy.New(b.port.Addr())
		if err != nil {
			t.Fatalf("proxy: %v", err)
		}
		t.Cleanup(proxy.Close)
		return proxy.Addr(), proxy
	}
	var near, far string
	near, sys.Proxy = through()
	far, sys.WorkerProxy = through()
	r := &remote{broker: b, client: newClient(near, b.bug), space: s.Namespace, room: s.Room, bug: b.bug}
	w := newRemoteWorker(far, s, b.bug)
	t.Cleanup(func() { r.client.end(); w.kill() })
	sys.Caps = remoteCaps()
	sys.Exec = adapter.Guard(sys.Caps, r.execute)
	if b.bug.asksBroker {
		sys.Exec = answering(sys.Exec, func(ctx context.Context, intents []core.Intent) error {
			r.client.call(ctx, request{Op: "renew", Space: r.space}) //nolint:errcheck // the call itself is the bug
			return sys.Caps.CheckCall(intents)
		})
	}
	sys.Slots = w.slots
	sys.Stop, sys.Kill = w.stop, func() error { w.kill(); return nil }
	sys.Stored = func(context.Context) ([]conformance.Record, error) { return b.records(s.Namespace), nil }
	sys.Corrupt = func(context.Context, string) error { return r.corrupt() }
	if s.Paused {
		sys.Start = func(context.Context) error { w.start(); return nil }
	} else {
		w.start()
	}
	return sys
}

func (r *remote) corrupt() error {
	r.broker.mu.Lock()
	defer r.broker.mu.Unlock()
	r.broker.put(r.broker.space(r.space), json.RawMessage(`"poison"`), map[string]bool{})
	return nil
}

// chunk is how many jobs go in one request.
const chunk = 25

func (r *remote) execute(ctx context.Context, intents ...core.Intent) error {
	var out []core.Outcome
	for n := 0; len(intents) > 0; n++ {
		part := intents[:min(chunk, len(intents))]
		intents = intents[len(part):]
		states, ok := r.put(ctx, part)
		if out = append(out, states...); !ok {
			out = append(out, outcomes(intents, core.NotSent, fmt.Errorf("an earlier part has no reply: %w", core.ErrNotSent))...)
			if r.bug.broken != nil {
				r.bug.broken(out, n)
			}
			break
		}
	}
	return core.Combine(out)
}

// put sends one chunk, and reports whether a reply came.
func (r *remote) put(ctx context.Context, intents []core.Intent) (out []core.Outcome, ok bool) {
	req := request{Op: "put", Space: r.space, Room: r.room}
	for i := range intents {
		raw, err := adapter.EncodeIntent(intents[i])
		if err != nil {
			return outcomes(intents, core.NotSent, err), false
		}
		req.Jobs = append(req.Jobs, raw)
	}
	answer, sent, err := r.client.call(ctx, req)
	switch {
	case errors.Is(err, errAssumed):
		return outcomes(intents, core.Accepted, nil), true
	case err == nil && len(answer.States) != len(intents) && !r.bug.keepsCancelled:
		sent, err = true, fmt.Errorf("%d answers for %d jobs", len(answer.States), len(intents))
	}
	if err != nil {
		return r.unanswered(ctx, intents, req, sent, err)
	}
	out = outcomes(intents, core.Accepted, nil)
	for i, state := range answer.States[:min(len(answer.States), len(out))] {
		switch out[i].State = state; state {
		case core.Duplicate:
			out[i].Err = core.ErrDuplicate
		case core.NotSent:
			out[i].Err = fmt.Errorf("%w: no room", core.ErrUnavailable)
		}
	}
	return out, true
}

// unanswered returns the outcomes of a call without a reply.
func (r *remote) unanswered(ctx context.Context, intents []core.Intent, req request, sent bool, err error) ([]core.Outcome, bool) {
	switch {
	case r.bug.buffers && !sent:
		go func() {
			for {
				_, late, err := r.client.call(context.Background(), req)
				if err == nil || late || errors.Is(err, net.ErrClosed) {
					return
				}
				time.Sleep(ownBackoff)
			}
		}()
		return outcomes(intents, core.Accepted, nil), true
	case r.bug.resends && sent && ctx.Err() == nil && len(intents) < chunk:
		if out, ok := r.resend(ctx, intents); ok {
			return out, true
		}
	}
	state := core.Unknown
	if !sent {
		state = core.NotSent
		if ctx.Err() == nil {
			err = fmt.Errorf("%w: %w", core.ErrUnavailable, err)
		}
	}
	out := outcomes(intents, state, err)
	for i := range out {
		if r.bug.outcome != nil {
			r.bug.outcome(&out[i])
		}
	}
	return out, false
}

// resend is what a mutant does after an error.
func (r *remote) resend(ctx context.Context, intents []core.Intent) ([]core.Outcome, bool) {
	req := request{Op: "put", Space: r.space}
	for i := range intents {
		in := intents[i]
		in.ID = fmt.Sprint(in.ID[:len(in.ID)-6], 100_000+nextNumber()%900_000)
		raw, err := adapter.EncodeIntent(in)
		if err != nil {
			return nil, false
		}
		req.Jobs = append(req.Jobs, raw)
	}
	for range 50 {
		if _, sent, err := r.client.call(ctx, req); err == nil {
			return outcomes(intents, core.Accepted, nil), true
		} else if sent {
			return nil, false
		}
		time.Sleep(ownBackoff)
	}
	return nil, false
}

func isCancelled(err error) bool { return errors.Is(err, context.Canceled) }
