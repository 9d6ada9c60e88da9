package nats_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/conformance/faultproxy"
	"github.com/goairlock/airlock/core"
	natsexec "github.com/goairlock/airlock/executors/nats"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/worker"
)

// proxied is a testEnv whose executor has a proxy between itself and the server. Its js goes round the proxy.
func proxied(t *testing.T, opts *options) (*testEnv, *faultproxy.Proxy, *servers.NATSServer) {
	t.Helper()
	server := servers.NATS(t, servers.NATSOptions{Private: true})
	proxy, err := faultproxy.New(server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	w := setupOn(t, server.URL(), nil, opts)
	far := connect(t, "nats://"+proxy.Addr())
	w.exec, err = natsexec.New(w.ctx, far, streamName, w.opts.dispatch())
	w.must(err)
	w.conn = far.Conn()
	return w, proxy, server
}

// retrying is what a program would use: a connection that has just broken looks open until it is written to.
func (w *testEnv) retrying() core.Executor {
	return compose.WithRetry(w.exec.Execute, compose.Retry{Attempts: 100})
}

func (w *testEnv) some(n int, opts ...core.Option) []core.Intent {
	w.Helper()
	intents := make([]core.Intent, n)
	for i := range intents {
		intents[i] = w.intent(fmt.Sprint(i), opts...)
	}
	return intents
}

func TestALostReplyIsUnknownAndTheIntentAgainIsNoSecondJob(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		opts options
		n    int
	}{
		"one": {n: 1}, "many": {n: 100}, "atomic": {options{Atomic: true}, 100},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.opts.AckTimeout = 2 * time.Second
			w, proxy, _ := proxied(t, &tc.opts)
			w.must(w.retrying()(w.ctx, w.some(tc.n)...)) // warm
			intents := w.some(tc.n)
			proxy.LoseReplies()
			err := w.exec.Execute(w.ctx, intents...)
			for _, o := range core.OutcomesOf(err, intents) {
				if o.State != core.Unknown {
					t.Fatalf("%v: %v", o.State, o.Err)
				}
			}
			if !errors.Is(err, core.ErrUnknownOutcome) {
				t.Errorf("error %v", err)
			}
			w.wantStored("JOBS.>", 2*tc.n) // the witness: all were stored
			w.must(proxy.Heal())
			w.must(w.retrying()(w.ctx, intents...))
			w.wantStored("JOBS.>", 2*tc.n)
		})
	}
}

func TestABatchCutMidwayLosesNothingAndDoublesNothing(t *testing.T) {
	t.Parallel()
	for _, after := range []int64{1, 10_000, 60_000} {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			t.Parallel()
			w, proxy, _ := proxied(t, &options{AckTimeout: time.Second})
			w.must(w.retrying()(w.ctx, w.some(2)...))
			intents := w.some(1000)
			proxy.CutAfter(after)
			outcomes := core.OutcomesOf(w.exec.Execute(w.ctx, intents...), intents)
			counts := map[core.State]int{}
			for _, o := range outcomes {
				counts[o.State]++
			}
			if proxy.Stats().Cut == 0 || counts[core.Unknown] == 0 {
				t.Errorf("the cut did not bite: %v, %+v", counts, proxy.Stats())
			}
			if counts[core.Rejected]+counts[core.Duplicate]+counts[core.Failed] > 0 {
				t.Errorf("outcomes %v", counts)
			}
			w.must(w.retrying()(w.ctx, intents...))
			w.wantStored("JOBS.>", 1002)
			t.Logf("after %d bytes: %v", after, counts)
		})
	}
}

func TestWithoutAConnectionNothingIsSentLater(t *testing.T) {
	t.Parallel()
	w, proxy, _ := proxied(t, &options{AckTimeout: 300 * time.Millisecond})
	proxy.Down()
	w.awaitConnected(false)
	intents := w.some(3)
	err := w.exec.Execute(w.ctx, intents...)
	if !errors.Is(err, core.ErrUnavailable) {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(w.ctx)
	time.AfterFunc(50*time.Millisecond, cancel)
	if err := w.exec.Execute(ctx, intents...); !errors.Is(err, context.Canceled) || !errors.Is(err, core.ErrNotSent) {
		t.Errorf("cancelled while reconnecting: %v", err)
	}
	w.must(proxy.Up())
	w.awaitConnected(true)
	w.must(w.conn.Flush())
	w.wantStored("JOBS.>", 0)
	w.must(w.retrying()(w.ctx, intents...))
	w.wantStored("JOBS.>", 3)
}

func (w *testEnv) awaitConnected(want bool) {
	w.Helper()
	for w.conn.IsConnected() != want {
		if w.ctx.Err() != nil {
			w.Fatalf("connected: %v", !want)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestACallWaitsForTheConnection(t *testing.T) {
	t.Parallel()
	w, proxy, _ := proxied(t, nil)
	proxy.Down()
	w.awaitConnected(false)
	result := make(chan error)
	go func() { result <- w.exec.Execute(w.ctx, w.some(3)...) }()
	w.must(proxy.Up())
	w.must(next(w, result))
	w.wantStored("JOBS.>", 3)
}

func TestACallThatIsCancelledReturnsWithWhatIsUndecided(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 100} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			w, proxy, _ := proxied(t, &options{AckTimeout: time.Hour})
			w.send(w.some(n)...)
			proxy.LoseReplies()
			ctx, cancel := context.WithCancelCause(w.ctx)
			why := errors.New("the caller left")
			result := make(chan error)
			go func() { result <- w.exec.Execute(ctx, w.some(n)...) }()
			w.wantStored("JOBS.>", 2*n)
			cancel(why)
			err := next(w, result)
			if !errors.Is(err, context.Canceled) || !errors.Is(err, why) || !errors.Is(err, core.ErrUnknownOutcome) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestAnAcknowledgementThatIsLostRunsTheJobOnceMoreAtMost(t *testing.T) {
	t.Parallel()
	w, proxy, _ := proxied(t, nil)
	near := *w.opts
	near.AckWait = 4 * time.Second
	runs := make(chan int, 10)
	reg, err := worker.NewRegistry(worker.Handle(w.task, func(ctx context.Context, _ string) error {
		job, _ := worker.JobFrom(ctx)
		if job.Attempt == 1 {
			proxy.LoseRequests() // the job is done, and the server does not hear of it
		}
		runs <- job.Attempt
		return nil
	}))
	w.must(err)
	far := connect(t, "nats://"+proxy.Addr())
	worker, err := natsexec.NewWorker(far, streamName, reg, near.work())
	w.must(err)
	ctx, cancel := context.WithCancel(w.ctx)
	stopped := make(chan error, 1)
	go func() { stopped <- worker.Run(ctx) }()
	w.send(w.intent("a"))
	if got := next(w, runs); got != 1 {
		t.Errorf("attempt %d", got)
	}
	if err := proxy.WaitFor(w.ctx, func(s faultproxy.Stats) bool { return s.LostRequestBytes > 0 }); err != nil {
		t.Fatal(err)
	}
	time.Sleep(4500 * time.Millisecond) // past the ack_wait
	w.must(proxy.Heal())
	w.wantStored("JOBS.>", 0)
	cancel()
	w.must(next(w, stopped))
	if len(runs) > 1 {
		t.Errorf("%d further runs", len(runs))
	}
}

func TestWhatTheWindowOutlives(t *testing.T) {
	t.Parallel()
	w, proxy, server := proxied(t, nil)
	waiting, done := w.intent("waiting", core.Queue("idle")), w.intent("done")
	ran := make(chan string, 4)
	stop := w.work(func(_ context.Context, arg string) error { ran <- arg; return nil })
	w.send(waiting, done)
	next(w, ran)
	w.wantStored("JOBS.>", 1)
	w.must(stop())
	proxy.Reset()
	exec := w.retrying()
	w.must(exec(w.ctx, waiting, done))
	w.wantStored("JOBS.>", 1) // a lost connection forgets nothing

	// A restart forgets the IDs of acknowledged jobs alone: what Survives says.
	w.must(server.Restart())
	w.awaitConnected(true)
	w.must(exec(w.ctx, waiting))
	w.wantStored("JOBS.>", 1)
	w.must(exec(w.ctx, done))
	w.wantStored("JOBS.>", 2)
	if got := w.exec.Capabilities().IDWindow.Survives; got != core.SurvivalReconnect {
		t.Errorf("declared as %q", got)
	}
}
