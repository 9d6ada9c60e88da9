package trial

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"

	"github.com/goairlock/airlock/conformance/faultproxy"
	"github.com/goairlock/airlock/core"
)

var errShopClosed = errors.New("the shop has closed")

// DoneContextIsRefused tests calls whose context is over before they begin.
func DoneContextIsRefused(t *Trial) {
	ctx, cancel := context.WithCancelCause(t.Ctx)
	cancel(errShopClosed)
	for _, intents := range [][]core.Intent{t.Batch(0, 1), t.Batch(0, 2)} {
		got, err := StatesOf(ctx, t.Execute, intents...)
		if strings.Contains(got, "accepted") || strings.Contains(got, "unknown") || !errors.Is(err, context.Canceled) || !errors.Is(err, errShopClosed) {
			t.Errorf("%s: %v", got, err)
		}
	}
}

// CancellingReturnsAtOnce tests calls that are cancelled while they wait for a lost reply, for which the client itself would wait
// for all of Patience. Chunks are of 1000, and the second is never begun.
func CancellingReturnsAtOnce(t *Trial, proxy *faultproxy.Proxy, warm func()) {
	for _, intents := range [][]core.Intent{t.Batch(0, 1), t.Batch(1, 1501)} {
		warm()
		lost := proxy.Stats().LostReplyBytes
		proxy.LoseReplies()
		ctx, cancel := context.WithCancelCause(t.Ctx)
		result := make(chan error, 1)
		go func() { result <- t.Execute(ctx, intents...) }()
		t.Must(proxy.WaitFor(t.Ctx, func(s faultproxy.Stats) bool { return s.LostReplyBytes > lost }))
		cancel(errShopClosed)
		err := <-result
		if !errors.Is(err, context.Canceled) || !errors.Is(err, errShopClosed) || !errors.Is(err, core.ErrUnknownOutcome) {
			t.Errorf("error %v", err)
		}
		// A client that is cancelled while it writes a chunk knows what it has not written.
		unwritten := false
		for i, o := range core.OutcomesOf(err, intents) {
			unwritten = unwritten || i >= 1000 || i > 0 && o.State == core.NotSent
			want := core.Unknown
			if unwritten {
				want = core.NotSent
			}
			if o.State != want {
				t.Fatalf("intent %d is %v, want %v", i, o.State, want)
			}
		}
		t.Must(proxy.Heal())
	}
	warm()
	t.Want("accepted", t.Intent("the connection is free again"))
}

// refusals are answers to a script, and what becomes of its intents.
var refusals = map[string]string{
	"OOM command not allowed when used memory > 'maxmemory'.":                        "not sent",
	"READONLY You can't write against a read only replica.":                          "not sent",
	"LOADING Redis is loading the dataset in memory":                                 "not sent",
	"NOAUTH Authentication required.":                                                "not sent",
	"ERR Error running script: WRONGTYPE in line 7":                                  "unknown",
	"ERR unknown command 'EVALSHA', with args beginning with: 'abc' '2' 'my secret'": "unknown",
}

// RefusalsAreTold tests what Redis can answer instead of a result, and the answers of more. RE is the client's type of such an
// answer; open makes a trial with a connection to the server.
func RefusalsAreTold[RE error](t *testing.T, more map[string]string, open func(t *testing.T, addr string) *Trial) {
	all := maps.Clone(refusals)
	maps.Copy(all, more)
	for text, want := range all {
		t.Run(text[:5], func(t *testing.T) {
			t.Parallel()
			m := miniredis.RunT(t)
			trial := open(t, m.Addr())
			m.Server().SetPreHook(func(p *server.Peer, cmd string, _ ...string) bool {
				if !strings.HasPrefix(strings.ToUpper(cmd), "EVAL") {
					return false
				}
				p.WriteError(text)
				return true
			})
			for _, intents := range [][]core.Intent{trial.Batch(0, 1), trial.Batch(0, 2)} {
				got, err := trial.States(intents...)
				if strings.Count(got, want) != len(intents) || strings.Contains(err.Error(), "secret") {
					t.Errorf("%s, want %s: %v", got, want, err)
				}
				var re RE
				if !errors.As(err, &re) {
					t.Errorf("Redis's own error is not to be found: %v", err)
				}
			}
		})
	}
}
