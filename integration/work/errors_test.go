package work_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/conformance/faultproxy"
	"github.com/goairlock/airlock/core"
	workexec "github.com/goairlock/airlock/executors/work"
	"github.com/goairlock/airlock/integration/trial"
)

// faulty is a testEnv whose executor is behind a proxy, with one connection that is open.
type faulty struct {
	*testEnv
	proxy *faultproxy.Proxy
}

func setupFaulty(t *testing.T) *faulty {
	t.Helper()
	m := miniredis.RunT(t)
	proxy, err := faultproxy.New(m.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	f := &faulty{testEnv: setup(t, plain(t, proxy.Addr()), "faulty", workexec.Options{}), proxy: proxy}
	f.warm()
	f.testEnv.rdb = plain(t, m.Addr()) // to look at what is stored
	return f
}

// warm makes sure that the executor has a connection and Redis the script, so that a fault hits the jobs.
func (f *faulty) warm() {
	f.Helper()
	f.Eventually("the executor is connected", func() bool {
		err := f.exec.Execute(f.Ctx, f.Intent("warm", core.Queue("warm")))
		return err == nil
	})
}

func (f *faulty) wantAll(want string, intents []core.Intent, got string, err error) {
	f.Helper()
	if strings.Count(got, want) != len(intents) || strings.Count(got, ",") != len(intents)-1 {
		f.Errorf("%s, want %s: %v", got, want, err)
	}
}

func TestARefusedConnectionIsNotSent(t *testing.T) {
	t.Parallel()
	f := setupFaulty(t)
	f.proxy.Down()
	for _, intents := range [][]core.Intent{f.Batch(0, 1), f.Batch(0, 3), f.Batch(0, 1001), {f.Intent("u", core.Unique("k"))}} {
		// The idle connection is broken: what was sent on it may have arrived.
		f.Eventually("the broken connection is gone", func() bool {
			err := f.exec.Execute(f.Ctx, f.Intent("", core.Queue("warm")))
			return errors.Is(err, core.ErrUnavailable)
		})
		got, err := f.States(intents...)
		f.wantAll("not sent", intents, got, err)
		if !errors.Is(err, core.ErrUnavailable) {
			t.Errorf("%v", err)
		}
	}
	f.Must(f.proxy.Up())
	f.warm()
	f.Want("accepted", f.Intent("again"))
	if got := f.waiting(""); len(got) != 1 {
		t.Errorf("stored are %v", got)
	}
}

func TestALostReplyIsUnknownAndSendingAgainIsHarmless(t *testing.T) {
	t.Parallel()
	f := setupFaulty(t)
	single, many := f.Batch(0, 1), append(f.Batch(1, 5), f.Intent("chosen", core.ID("x")))
	unique := []core.Intent{f.Intent("unique", core.Unique("k"))}
	for _, intents := range [][]core.Intent{single, many, unique} {
		f.warm()
		before := len(f.waiting(""))
		f.proxy.LoseReplies()
		type answer struct {
			states string
			err    error
		}
		result := make(chan answer, 1)
		go func() { got, err := f.States(intents...); result <- answer{got, err} }()
		f.Eventually("the jobs are stored", func() bool { return len(f.waiting("")) == before+len(intents) })
		f.proxy.Reset()
		a := <-result
		f.wantAll("unknown", intents, a.states, a.err)
		if !errors.Is(a.err, core.ErrUnknownOutcome) || errors.Is(a.err, core.ErrNotSent) {
			t.Errorf("%v", a.err)
		}
		f.Must(f.proxy.Heal())
	}
	if got := f.waiting(""); len(got) != 1+5+1 { // the witness
		t.Errorf("stored are %v", got)
	}
	f.warm()
	f.Want("accepted", single...)
	f.Want("accepted, accepted, accepted, accepted, duplicate", many...)
	f.Want("duplicate", unique...)
	if got := f.waiting(""); len(got) != 1+5+1 {
		t.Errorf("stored are %v", got)
	}
}

func TestCancellingReturnsAtOnce(t *testing.T) {
	t.Parallel()
	f := setupFaulty(t)
	trial.CancellingReturnsAtOnce(f.Trial, f.proxy, f.warm)
}

func TestADeadlineEndsTheCall(t *testing.T) {
	t.Parallel()
	f := setupFaulty(t)
	for range 20 {
		f.warm()
		f.proxy.LoseReplies()
		ctx, cancel := context.WithTimeout(f.Ctx, 5*time.Millisecond)
		got, err := trial.StatesOf(ctx, f.exec.Execute, f.Intent("a"))
		if got == "accepted" || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", got, err)
		}
		cancel()
		f.Must(f.proxy.Heal())
	}
}

func TestAConnectionThatKnowsNoContextIsLeftToItself(t *testing.T) {
	t.Parallel()
	f := setupFaulty(t)
	released := make(chan struct{}, 10)
	exec, err := workexec.New(&redis.Pool{Dial: func() (redis.Conn, error) {
		conn, err := redis.Dial("tcp", f.proxy.Addr())
		return &plainConn{conn, released}, err
	}}, &workexec.Options{Namespace: f.ns})
	f.Must(err)
	if got, err := trial.StatesOf(f.Ctx, exec.Execute, f.Batch(0, 3)...); got != "accepted, accepted, accepted" {
		t.Errorf("%s: %v", got, err)
	}
	trial.Receive(f.testEnv.Trial, released)
	f.proxy.LoseReplies()
	ctx, cancel := context.WithCancel(f.Ctx)
	go func() {
		_ = f.proxy.WaitFor(f.Ctx, func(s faultproxy.Stats) bool { return s.LostReplyBytes > 0 })
		cancel()
	}()
	if got, err := trial.StatesOf(ctx, exec.Execute, f.Intent("cut")); got != "unknown" || !errors.Is(err, context.Canceled) {
		t.Errorf("%s: %v", got, err)
	}
	f.Must(f.proxy.Heal())
	trial.Receive(f.testEnv.Trial, released) // by the goroutine that went on
}

// plainConn has nothing but what redis.Conn asks for, like those of older tracing libraries.
type plainConn struct {
	redis.Conn
	released chan<- struct{}
}

func (c *plainConn) Close() error {
	c.released <- struct{}{}
	return c.Conn.Close()
}

func TestACutBatchTellsEveryIntentsFate(t *testing.T) {
	t.Parallel()
	f := setupFaulty(t)
	for _, after := range []int64{1, 5_000, 50_000, 150_000} {
		intents := f.Batch(0, 2000)
		f.warm()
		f.proxy.CutAfter(after)
		err := f.exec.Execute(f.Ctx, intents...)
		stored := map[string]bool{}
		for _, s := range f.jobs(f.ns) {
			stored[s.ID] = true
		}
		untrue := 0
		for i, o := range core.OutcomesOf(err, intents) {
			switch {
			case o.State == core.Accepted && !stored[o.ID], o.State == core.NotSent && stored[o.ID]:
				untrue++
			case i >= 1000 && o.State != core.NotSent && after < 100_000, o.State == core.Rejected, o.State == core.Duplicate:
				untrue++
			}
		}
		if untrue > 0 || err == nil {
			t.Errorf("cut after %d bytes: %d outcomes are not true: %v", after, untrue, err)
		}
		f.Must(f.proxy.Heal())
		f.warm()
		f.Must(f.exec.Execute(f.Ctx, intents...))
		if got := len(f.waiting("")); got != 2000 {
			t.Errorf("%d of 2000 jobs are stored", got)
		}
		f.do("DEL", "jobs:test.work")
	}
}

func TestWhatRedisRefusesIsNotSent(t *testing.T) {
	t.Parallel()
	more := map[string]string{"BUSY Redis is busy running a script.": "not sent"}
	trial.RefusalsAreTold[redis.Error](t, more, func(t *testing.T, addr string) *trial.Trial {
		w := setup(t, plain(t, addr), "refused", workexec.Options{})
		w.Want("accepted", w.Intent("warm"))
		return w.Trial
	})
}

func TestAPoolWithoutAConnectionToSpareIsNotSent(t *testing.T) {
	t.Parallel()
	for wait, want := range map[bool]error{false: redis.ErrPoolExhausted, true: context.DeadlineExceeded} {
		m := miniredis.RunT(t)
		rdb := &redis.Pool{MaxActive: 1, Wait: wait, Dial: func() (redis.Conn, error) { return redis.Dial("tcp", m.Addr()) }}
		t.Cleanup(func() { _ = rdb.Close() })
		w := setup(t, rdb, "exhausted", workexec.Options{})
		taken := rdb.Get()
		ctx, cancel := context.WithCancel(w.Ctx)
		if wait {
			ctx, cancel = context.WithTimeout(w.Ctx, 10*time.Millisecond)
		}
		got, err := trial.StatesOf(ctx, w.exec.Execute, w.Batch(0, 2)...)
		cancel()
		if got != "not sent, not sent" || !errors.Is(err, want) || errors.Is(err, core.ErrUnavailable) {
			t.Errorf("%s: %v", got, err)
		}
		w.Must(taken.Close())
		w.Want("accepted, accepted", w.Batch(0, 2)...)
	}
}

// Contexts end before, while and after Redis answers. What is reported as accepted is stored, and the pool stays usable.
func TestCallsThatAreCancelledAtAnyTimeLeaveThePoolUsable(t *testing.T) {
	t.Parallel()
	w := setup(t, embedded(t), "cancelled", workexec.Options{})
	w.Want("accepted", w.Intent("first", core.ID("first"))) // from now on the pool is known to take contexts
	accepted := []string{"first"}
	for i := range 300 {
		in := w.Intent("", core.ID(fmt.Sprint("id-", i)))
		ctx, cancel := context.WithCancel(w.Ctx)
		time.AfterFunc(time.Duration(i)*time.Microsecond, cancel)
		err := w.exec.Execute(ctx, in)
		switch state := core.OutcomesOf(err, []core.Intent{in})[0].State; state {
		case core.Accepted:
			accepted = append(accepted, in.ID)
		case core.Unknown, core.NotSent:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", state, err)
			}
		default:
			t.Errorf("%s: %v", state, err)
		}
		cancel()
	}
	for _, id := range accepted {
		if w.find(id).place != "waiting" {
			t.Errorf("%s is not stored", id)
		}
	}
	if n := w.rdb.ActiveCount(); n > 2 {
		t.Errorf("%d connections are open", n)
	}
}
