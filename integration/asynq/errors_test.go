package asynq_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/conformance/faultproxy"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/integration/trial"
)

// warm makes sure that the client has a connection, so that a fault hits the jobs and not a greeting.
func (f *faulty) warm() {
	f.Helper()
	f.Eventually("the client is connected", func() bool { return f.rdb.Ping(f.Ctx).Err() == nil })
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
			Addr: proxy.Addr(), MaxRetries: maxRetries, PoolSize: 1, ReadTimeout: trial.Patience, WriteTimeout: trial.Patience,
		})
		t.Cleanup(func() { _ = rdb.Close() })
		return rdb
	}, nil)
	f.Want("accepted", f.Intent("warm"))
	f.Want("accepted, accepted", f.Intent("warm"), f.Intent("warm"))
	f.connect = plain(t, m.Addr())
	f.direct = f.connect()
	return f
}

func TestARefusedConnectionIsNotSent(t *testing.T) {
	t.Parallel()
	f := setupFaulty(t, -1)
	f.proxy.Down()
	for _, intents := range [][]core.Intent{f.Batch(0, 1), f.Batch(0, 3), {f.Intent("u", core.Unique("k"))}} {
		got, err := f.States(intents...)
		if strings.ReplaceAll(got, "not sent", "") != strings.Repeat(", ", len(intents)-1) || !errors.Is(err, core.ErrUnavailable) {
			t.Errorf("%s: %v", got, err)
		}
	}
	f.Must(f.proxy.Up())
	f.warm()
	f.Want("accepted", f.Intent("again"))
}

func TestARefusedConnectionOfARetryingClientIsUnknown(t *testing.T) {
	t.Parallel()
	f := setupFaulty(t, 1)
	f.proxy.Down()
	f.Want("unknown", f.Intent("a"))
	f.Want("unknown, unknown", f.Intent("a"), f.Intent("b"))
}

func TestALostReplyIsUnknownAndSendingAgainIsHarmless(t *testing.T) {
	t.Parallel()
	f := setupFaulty(t, -1)
	single, many := f.Batch(0, 1), append(f.Batch(1, 5), f.Intent("chosen", core.ID("x")))
	for _, intents := range [][]core.Intent{single, many} {
		f.warm()
		lost := f.proxy.Stats().LostReplyBytes
		f.proxy.LoseReplies()
		result := make(chan string, 1)
		go func() { got, _ := f.States(intents...); result <- got }()
		f.Must(f.proxy.WaitFor(f.Ctx, func(s faultproxy.Stats) bool { return s.LostReplyBytes > lost }))
		f.proxy.Reset()
		if got := <-result; strings.ReplaceAll(got, "unknown", "") != strings.Repeat(", ", len(intents)-1) {
			t.Errorf("outcomes %s", got)
		}
		f.Must(f.proxy.Heal())
	}
	if got := len(f.pending("default")); got != 3+1+5 { // the witness
		t.Errorf("%d jobs are stored", got)
	}
	f.warm()
	f.Want("accepted", single...)
	f.Want("accepted, accepted, accepted, accepted, duplicate", many...)
	if got := len(f.pending("default")); got != 3+1+5 {
		t.Errorf("%d jobs are stored", got)
	}
}

func TestALostReplyThatTheClientHidesIsAccepted(t *testing.T) {
	t.Parallel()
	f := setupFaulty(t, 3)
	for _, intents := range [][]core.Intent{f.Batch(0, 1), f.Batch(1, 11)} {
		f.warm()
		lost := f.proxy.Stats().LostReplyBytes
		f.proxy.LoseReplies()
		result := make(chan string, 1)
		go func() { got, _ := f.States(intents...); result <- got }()
		f.Must(f.proxy.WaitFor(f.Ctx, func(s faultproxy.Stats) bool { return s.LostReplyBytes > lost }))
		f.Must(f.proxy.Heal()) // the client's next try gets through, and finds its own job
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
	for n, intents := range [][]core.Intent{f.Batch(0, 1), f.Batch(1, 3)} {
		f.warm()
		lost := f.proxy.Stats().LostReplyBytes
		f.proxy.LoseReplies()
		result := make(chan string, 1)
		go func() { got, _ := f.States(intents...); result <- got }()
		f.Must(f.proxy.WaitFor(f.Ctx, func(s faultproxy.Stats) bool { return s.LostReplyBytes > lost }))
		f.proxy.Down() // the client's last error is a refused connection
		if got := <-result; strings.Count(got, "unknown") != len(intents) {
			t.Errorf("call %d: outcomes %s", n, got)
		}
		f.Must(f.proxy.Heal())
	}
	if got := len(f.pending("default")); got != 3+3 {
		t.Errorf("%d jobs are stored", got)
	}
}

func TestCancellingReturnsAtOnceAndLeavesNoGoroutine(t *testing.T) {
	t.Parallel()
	f := setupFaulty(t, -1) // PoolSize is 1: the goroutine must give it back
	trial.CancellingReturnsAtOnce(f.Trial, f.proxy, f.warm)
}

func TestADeadlineEndsTheCall(t *testing.T) {
	t.Parallel()
	f := setupFaulty(t, -1)
	f.proxy.LoseReplies()
	ctx, cancel := context.WithTimeout(f.Ctx, 50*time.Millisecond)
	defer cancel()
	got, err := trial.StatesOf(ctx, f.exec.Execute, f.Intent("a"))
	if got != "unknown" || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%s: %v", got, err)
	}
	f.Must(f.proxy.Heal())
}

func TestACutBatchTellsEveryIntentsFate(t *testing.T) {
	t.Parallel()
	f := setupFaulty(t, -1)
	for _, after := range []int64{1, 5_000, 50_000, 150_000} {
		intents := f.Batch(0, 2000)
		f.warm()
		f.proxy.CutAfter(after)
		err := f.exec.Execute(f.Ctx, intents...)
		stored := map[string]bool{}
		for _, id := range f.direct.LRange(f.Ctx, "asynq:{default}:pending", 0, -1).Val() {
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
		f.Must(f.proxy.Heal())
		f.warm()
		f.Must(f.exec.Execute(f.Ctx, intents...))
	}
}

func TestWhatRedisRefusesIsNotSent(t *testing.T) {
	t.Parallel()
	trial.RefusalsAreTold[redis.Error](t, nil, func(t *testing.T, addr string) *trial.Trial {
		w := setup(t, plain(t, addr), nil)
		w.Must(w.rdb.Ping(w.Ctx).Err())
		return w.Trial
	})
}

func TestAClosedClientIsToldAsSuch(t *testing.T) {
	t.Parallel()
	w := setup(t, embedded(t), nil)
	w.Want("accepted", w.Intent("a"))
	w.Must(w.rdb.Close())
	for _, intents := range [][]core.Intent{w.Batch(0, 1), w.Batch(0, 2)} {
		if got, err := w.States(intents...); strings.Count(got, "not sent") != len(intents) || !errors.Is(err, core.ErrClosed) {
			t.Errorf("%s: %v", got, err)
		}
	}
}
