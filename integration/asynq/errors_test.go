package asynq_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/conformance/faultproxy"
	"github.com/goairlock/airlock/core"
)

// warm makes sure that the client has a connection, so that a fault hits the jobs and not a greeting.
func (f *faulty) warm() {
	f.Helper()
	f.eventually("the client is connected", func() bool { return f.rdb.Ping(f.ctx).Err() == nil })
}

// faulty is a world behind a proxy, warm, whose server can be looked at directly.
type faulty struct {
	*world
	proxy  *faultproxy.Proxy
	direct redis.UniversalClient
}

func setupFaulty(t *testing.T, maxRetries int) *faulty {
	t.Helper()
	m := miniredis.RunT(t)
	proxy, err := faultproxy.New(m.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	f := &faulty{proxy: proxy}
	f.world = setup(t, func() redis.UniversalClient {
		rdb := redis.NewClient(&redis.Options{
			Addr: proxy.Addr(), MaxRetries: maxRetries, PoolSize: 1, ReadTimeout: patience, WriteTimeout: patience,
		})
		t.Cleanup(func() { _ = rdb.Close() })
		return rdb
	}, nil)
	f.want("accepted", f.intent("warm"))
	f.want("accepted, accepted", f.intent("warm"), f.intent("warm"))
	f.connect = plain(t, m.Addr())
	f.direct = f.connect()
	return f
}

func TestARefusedConnectionIsNotSent(t *testing.T) {
	t.Parallel()
	f := setupFaulty(t, -1)
	f.proxy.Down()
	for _, intents := range [][]core.Intent{f.batch(0, 1), f.batch(0, 3), {f.intent("u", core.Unique("k"))}} {
		got, err := f.states(intents...)
		if strings.ReplaceAll(got, "not sent", "") != strings.Repeat(", ", len(intents)-1) || !errors.Is(err, core.ErrUnavailable) {
			t.Errorf("%s: %v", got, err)
		}
	}
	f.must(f.proxy.Up())
	f.warm()
	f.want("accepted", f.intent("again"))
}

func TestARefusedConnectionOfARetryingClientIsUnknown(t *testing.T) {
	t.Parallel()
	f := setupFaulty(t, 1)
	f.proxy.Down()
	f.want("unknown", f.intent("a"))
	f.want("unknown, unknown", f.intent("a"), f.intent("b"))
}

func TestALostReplyIsUnknownAndSendingAgainIsHarmless(t *testing.T) {
	t.Parallel()
	f := setupFaulty(t, -1)
	single, many := f.batch(0, 1), append(f.batch(1, 5), f.intent("chosen", core.ID("x")))
	for _, intents := range [][]core.Intent{single, many} {
		f.warm()
		lost := f.proxy.Stats().LostReplyBytes
		f.proxy.LoseReplies()
		result := make(chan string, 1)
		go func() { got, _ := f.states(intents...); result <- got }()
		f.must(f.proxy.WaitFor(f.ctx, func(s faultproxy.Stats) bool { return s.LostReplyBytes > lost }))
		f.proxy.Reset()
		if got := <-result; strings.ReplaceAll(got, "unknown", "") != strings.Repeat(", ", len(intents)-1) {
			t.Errorf("outcomes %s", got)
		}
		f.must(f.proxy.Heal())
	}
	if got := len(f.pending("default")); got != 3+1+5 { // the witness
		t.Errorf("%d jobs are stored", got)
	}
	f.warm()
	f.want("accepted", single...)
	f.want("accepted, accepted, accepted, accepted, duplicate", many...)
	if got := len(f.pending("default")); got != 3+1+5 {
		t.Errorf("%d jobs are stored", got)
	}
}

func TestALostReplyThatTheClientHidesIsAccepted(t *testing.T) {
	t.Parallel()
	f := setupFaulty(t, 3)
	for _, intents := range [][]core.Intent{f.batch(0, 1), f.batch(1, 11)} {
		f.warm()
		lost := f.proxy.Stats().LostReplyBytes
		f.proxy.LoseReplies()
		result := make(chan string, 1)
		go func() { got, _ := f.states(intents...); result <- got }()
		f.must(f.proxy.WaitFor(f.ctx, func(s faultproxy.Stats) bool { return s.LostReplyBytes > lost }))
		f.must(f.proxy.Heal()) // the client's next try gets through, and finds its own job
		if got := <-result; strings.Count(got, "accepted") != len(intents) {
			t.Errorf("outcomes %s", got)
		}
	}
	if got := len(f.pending("default")); got != 3+1+10 {
		t.Errorf("%d jobs are stored", got)
	}
}

func TestStoredThenRefusedIsNeverNotSent(t *testing.T) {
	t.Parallel()
	f := setupFaulty(t, 1)
	for n, intents := range [][]core.Intent{f.batch(0, 1), f.batch(1, 3)} {
		f.warm()
		lost := f.proxy.Stats().LostReplyBytes
		f.proxy.LoseReplies()
		result := make(chan string, 1)
		go func() { got, _ := f.states(intents...); result <- got }()
		f.must(f.proxy.WaitFor(f.ctx, func(s faultproxy.Stats) bool { return s.LostReplyBytes > lost }))
		f.proxy.Down() // the client's last error is a refused connection
		if got := <-result; strings.Count(got, "unknown") != len(intents) {
			t.Errorf("call %d: outcomes %s", n, got)
		}
		f.must(f.proxy.Heal())
	}
	if got := len(f.pending("default")); got != 3+3 {
		t.Errorf("%d jobs are stored", got)
	}
}

func TestCancellingReturnsAtOnceAndLeavesNoGoroutine(t *testing.T) {
	t.Parallel()
	f := setupFaulty(t, -1)
	closed := errors.New("the shop has closed")
	many := f.batch(1, 1501) // the second pipeline is never begun
	for _, intents := range [][]core.Intent{f.batch(0, 1), many} {
		f.warm()
		lost := f.proxy.Stats().LostReplyBytes
		f.proxy.LoseReplies()
		ctx, cancel := context.WithCancelCause(f.ctx)
		result := make(chan error, 1)
		go func() { result <- f.exec.Execute(ctx, intents...) }()
		f.must(f.proxy.WaitFor(f.ctx, func(s faultproxy.Stats) bool { return s.LostReplyBytes > lost }))
		cancel(closed)
		err := <-result // the client itself waits for its ReadTimeout, which is the test's whole patience
		if !errors.Is(err, context.Canceled) || !errors.Is(err, closed) || !errors.Is(err, core.ErrUnknownOutcome) {
			t.Errorf("error %v", err)
		}
		for i, o := range core.OutcomesOf(err, intents) {
			want := core.Unknown
			if i >= 1000 {
				want = core.NotSent
			}
			if o.State != want {
				t.Fatalf("intent %d is %v, want %v", i, o.State, want)
			}
		}
		f.must(f.proxy.Heal())
	}
	f.warm()
	f.want("accepted", f.intent("the connection is free again")) // PoolSize is 1: the goroutine has given it back
}

func TestADeadlineEndsTheCall(t *testing.T) {
	t.Parallel()
	f := setupFaulty(t, -1)
	f.proxy.LoseReplies()
	ctx, cancel := context.WithTimeout(f.ctx, 50*time.Millisecond)
	defer cancel()
	got, err := statesOf(ctx, f.exec.Execute, f.intent("a"))
	if got != "unknown" || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%s: %v", got, err)
	}
	f.must(f.proxy.Heal())
}

func TestACutBatchTellsEveryIntentsFate(t *testing.T) {
	t.Parallel()
	f := setupFaulty(t, -1)
	for _, after := range []int64{1, 5_000, 50_000, 150_000} {
		intents := f.batch(0, 2000)
		f.warm()
		f.proxy.CutAfter(after)
		err := f.exec.Execute(f.ctx, intents...)
		stored := map[string]bool{}
		for _, id := range f.direct.LRange(f.ctx, "asynq:{default}:pending", 0, -1).Val() {
			stored[id] = true
		}
		lost := 0
		for i, o := range core.OutcomesOf(err, intents) {
			switch {
			case o.State == core.Accepted && !stored[o.ID], o.State == core.NotSent && stored[o.ID]:
				lost++
			case i >= 1000 && o.State != core.NotSent, o.State == core.Rejected, o.State == core.Duplicate:
				lost++
			}
		}
		if lost > 0 || err == nil {
			t.Errorf("cut after %d bytes: %d outcomes are not true: %v", after, lost, err)
		}
		f.must(f.proxy.Heal())
		f.warm()
		f.must(f.exec.Execute(f.ctx, intents...))
	}
}

func TestWhatRedisRefusesIsNotSent(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"OOM command not allowed when used memory > 'maxmemory'.":                        "not sent",
		"READONLY You can't write against a read only replica.":                          "not sent",
		"LOADING Redis is loading the dataset in memory":                                 "not sent",
		"NOAUTH Authentication required.":                                                "not sent",
		"ERR Error running script: WRONGTYPE in line 7":                                  "unknown",
		"ERR unknown command 'EVALSHA', with args beginning with: 'abc' '2' 'my secret'": "unknown",
	} {
		t.Run(text[:5], func(t *testing.T) {
			t.Parallel()
			m := miniredis.RunT(t)
			w := setup(t, plain(t, m.Addr()), nil)
			w.must(w.rdb.Ping(w.ctx).Err())
			m.Server().SetPreHook(func(p *server.Peer, cmd string, _ ...string) bool {
				if !strings.HasPrefix(strings.ToUpper(cmd), "EVAL") {
					return false
				}
				p.WriteError(text)
				return true
			})
			for _, intents := range [][]core.Intent{w.batch(0, 1), w.batch(0, 2)} {
				got, err := w.states(intents...)
				if strings.Count(got, want) != len(intents) || strings.Contains(err.Error(), "secret") {
					t.Errorf("%s, want %s: %v", got, want, err)
				}
				var re redis.Error
				if !errors.As(err, &re) {
					t.Errorf("Redis's own error is not to be found: %v", err)
				}
			}
		})
	}
}

func TestAClosedClientIsToldAsSuch(t *testing.T) {
	t.Parallel()
	w := setup(t, embedded(t), nil)
	w.want("accepted", w.intent("a"))
	w.must(w.rdb.Close())
	for _, intents := range [][]core.Intent{w.batch(0, 1), w.batch(0, 2)} {
		if got, err := w.states(intents...); strings.Count(got, "not sent") != len(intents) || !errors.Is(err, core.ErrClosed) {
			t.Errorf("%s: %v", got, err)
		}
	}
}
