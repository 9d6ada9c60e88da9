package asynq_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/conformance/faultproxy"
	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
	"github.com/goairlock/airlock/integration/trial"
)

// warm makes sure that the client has a connection, so that a fault hits the jobs and not the handshake.
func (f *faulty) warm() {
	f.Helper()
	f.Eventually("the client is connected", func() bool { return f.rdb.Ping(f.Ctx).Err() == nil })
}

// faulty is a testEnv behind a proxy that has a connection already, and whose server can also be reached directly.
type faulty struct {
	*testEnv
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
	f.testEnv = setup(t, func() redis.UniversalClient {
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

// The client has tried several times, and written nothing in any of them.
func TestARefusedConnectionOfARetryingClientIsNotSent(t *testing.T) {
	t.Parallel()
	f := setupFaulty(t, 1)
	f.proxy.Down()
	for _, intents := range [][]core.Intent{f.Batch(0, 1), f.Batch(0, 2), {f.Intent("u", core.Unique("k"))}} {
		got, err := f.States(intents...)
		if strings.Count(got, "not sent") != len(intents) || !errors.Is(err, core.ErrUnavailable) {
			t.Errorf("%s: %v", got, err)
		}
	}
}

// Servers that accept the connection and then never answer, close it, or refuse it.
func TestAFailedHandshakeIsNotSent(t *testing.T) {
	t.Parallel()
	for name, behave := range map[string]func(net.Conn){
		"silent": func(net.Conn) {}, "closes": func(c net.Conn) { _ = c.Close() },
		"refuses": func(c net.Conn) { _, _ = c.Write([]byte("-ERR max number of clients reached\r\n")); _ = c.Close() },
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				t.Cleanup(func() { _ = c.Close() })
				behave(c)
			}
		}()
		for _, retries := range []int{-1, 1} {
			rdb := redis.NewClient(&redis.Options{Addr: l.Addr().String(), MaxRetries: retries, ReadTimeout: 100 * time.Millisecond})
			t.Cleanup(func() { _ = rdb.Close() })
			exec, err := asynqexec.New(rdb, nil)
			if err != nil {
				t.Fatal(err)
			}
			w := trial.New(t, trial.Patience)
			for _, intents := range [][]core.Intent{w.Batch(0, 1), w.Batch(0, 2), {w.Intent("u", core.Unique("k"))}} {
				if got, err := trial.StatesOf(t.Context(), exec.Execute, intents...); strings.Count(got, "not sent") != len(intents) {
					t.Errorf("%s, %d retries: %s: %v", name, retries, got, err)
				}
			}
		}
	}
}

// What users' code refuses was not sent.
func TestAHookThatRefusesIsNotSent(t *testing.T) {
	t.Parallel()
	w := setup(t, embedded(t), nil)
	w.Want("accepted, accepted", w.Intent("a"), w.Intent("b"))
	w.rdb.AddHook(refusing{})
	for _, intents := range [][]core.Intent{w.Batch(0, 1), w.Batch(0, 2)} {
		got, err := w.States(intents...)
		if strings.Count(got, "not sent") != len(intents) || !errors.Is(err, errRefused) || errors.Is(err, core.ErrUnavailable) {
			t.Errorf("%s: %v", got, err)
		}
	}
}

var errRefused = errors.New("the hook refuses")

type refusing struct{}

func (refusing) DialHook(next redis.DialHook) redis.DialHook { return next }
func (refusing) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(context.Context, redis.Cmder) error { return errRefused }
}
func (refusing) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(context.Context, []redis.Cmder) error { return errRefused }
}

// The context ends while the client still dials, so nothing was written, and nothing is written later.
func TestAContextThatEndsBeforeTheFirstByteIsNotSent(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	dialing, goOn := make(chan struct{}, 10), make(chan struct{})
	rdb := redis.NewClient(&redis.Options{MaxRetries: -1, Dialer: func(context.Context, string, string) (net.Conn, error) {
		dialing <- struct{}{}
		<-goOn
		return net.Dial("tcp", m.Addr())
	}})
	t.Cleanup(func() { _ = rdb.Close() })
	exec, err := asynqexec.New(rdb, nil)
	if err != nil {
		t.Fatal(err)
	}
	w := trial.New(t, trial.Patience)
	for n, intents := range [][]core.Intent{w.Batch(0, 1), w.Batch(0, 2)} {
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-dialing; cancel() }()
		if got, err := trial.StatesOf(ctx, exec.Execute, intents...); strings.Count(got, "not sent") != len(intents) || !errors.Is(err, context.Canceled) {
			t.Errorf("call %d: %s: %v", n, got, err)
		}
	}
	close(goOn)
	fence := w.Intent("fence")
	w.Must(exec.Execute(t.Context(), fence))
	if ids, err := m.List("asynq:{default}:pending"); err != nil || len(ids) != 1 || ids[0] != fence.ID {
		t.Errorf("%d jobs are stored: %v", len(ids), err)
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

func TestACutBatchReportsWhatBecameOfEachIntent(t *testing.T) {
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

func TestAClosedClientIsErrClosed(t *testing.T) {
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
