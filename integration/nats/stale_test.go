package nats_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goairlock/airlock/conformance/faultproxy"
	"github.com/goairlock/airlock/core"
	natsexec "github.com/goairlock/airlock/executors/nats"
	"github.com/goairlock/airlock/worker"
)

// A takeover is a job that worker A began and worker B got, because A's line was dead for longer than the lease.
type takeover struct {
	*testEnv
	proxy  *faultproxy.Proxy
	lines  lines // of A
	starts atomic.Int64
	answer chan error // of A's handler
	finish chan error // of B's
	began  chan string
	stopA  context.CancelFunc
	endedA chan error
}

const nothingDone = "nothing is done"

// takeOver returns when B runs the job and A can be reached again.
func takeOver(t *testing.T, partOfA func(*takeover) worker.Part, opts ...core.Option) *takeover {
	t.Helper()
	w, proxy, _ := proxied(t, &options{AckWait: 2 * time.Second, DrainTimeout: -1, ParkFor: time.Hour})
	o := &takeover{
		testEnv: w, proxy: proxy, lines: make(lines, 1000), answer: make(chan error), finish: make(chan error),
		began: make(chan string, 10), endedA: make(chan error, 1),
	}
	reg, err := worker.NewRegistry(partOfA(o))
	w.must(err)
	ofA := *w.opts
	ofA.Logger = slog.New(slog.NewTextHandler(o.lines, &slog.HandlerOptions{Level: slog.LevelDebug}))
	a, err := natsexec.NewWorker(connect(t, "nats://"+proxy.Addr()), streamName, reg, ofA.work())
	w.must(err)
	ctx, cancel := context.WithCancel(w.ctx)
	o.stopA = cancel
	go func() { o.endedA <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		w.must(<-o.endedA)
	})
	near, err := natsexec.New(w.ctx, w.js, streamName, w.opts.dispatch())
	w.must(err)
	w.must(near.Execute(w.ctx, w.intent("a", append(opts, core.MaxAttempts(9))...)))
	if got := next(w, o.began); got != "A" {
		t.Fatalf("%s has the job", got)
	}
	proxy.LoseRequests()
	w.work(func(context.Context, string) error {
		o.starts.Add(1)
		o.began <- "B"
		return <-o.finish
	})
	if got := next(w, o.began); got != "B" {
		t.Fatalf("%s has the job", got)
	}
	return o
}

// answers is A's handler, which returns what it is given.
func answers(o *takeover) worker.Part {
	return worker.Handle(o.task, func(context.Context, string) error {
		o.starts.Add(1)
		o.began <- "A"
		return <-o.answer
	})
}

// wantStale waits for the line about A's verdict, and wants none that reads like the job's outcome.
func (o *takeover) wantStale(verdict string) {
	o.Helper()
	for {
		line := next(o.testEnv, o.lines)
		for _, outcome := range []string{"job done", "attempt failed", "job dead", "job snoozed", "job parked", "job put back"} {
			if strings.Contains(line, outcome) {
				o.Errorf("logged as an outcome: %s", line)
			}
		}
		if strings.Contains(line, "lease was over") || strings.Contains(line, "another worker ended") {
			if !strings.Contains(line, "level=WARN") || !strings.Contains(line, "verdict="+verdict) {
				o.Errorf("want the verdict %s at Warn: %s", verdict, line)
			}
			return
		}
	}
}

// wantNoMore waits for a while in which the job must not begin again.
func (o *takeover) wantNoMore(starts int64) {
	o.Helper()
	time.Sleep(time.Second)
	if got := o.starts.Load(); got != starts {
		o.Errorf("the job began %d times, want %d", got, starts)
	}
}

// Worker A's lease is over, B has the job, and only then A's handler returns.
func TestAStaleWorkerDecidesNothing(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		verdict worker.Action
		answer  error
		opts    []core.Option
	}{
		"ok":         {verdict: worker.Done},
		"fails":      {verdict: worker.Retry, answer: errors.New("with a short backoff, which the consumer keeps")},
		"fails late": {worker.Retry, errors.New("with a long backoff, which makes the retry a message of its own"), []core.Option{core.Backoff(core.Fixed(time.Hour))}},
		"permanent":  {verdict: worker.Dead, answer: worker.Permanent(errors.New("never"))},
		"snooze":     {verdict: worker.Snoozed, answer: worker.Snooze(time.Minute)},
	} {
		t.Run(name+", the new owner is done", func(t *testing.T) {
			t.Parallel()
			o := takeOver(t, answers, tc.opts...)
			o.finish <- nil
			o.wantStored("JOBS.>", 0)
			o.must(o.proxy.Heal())
			o.answer <- tc.answer
			o.wantStale(tc.verdict.String())
			o.wantNoMore(2)
			o.wantStored("JOBS.>", 0)
		})
		t.Run(name+", the new owner is still running", func(t *testing.T) {
			t.Parallel()
			o := takeOver(t, answers, tc.opts...)
			o.must(o.proxy.Heal())
			o.answer <- tc.answer
			o.wantStale(tc.verdict.String())
			if tc.answer == nil {
				o.wantStored("JOBS.>", 0) // the work is done
			} else {
				o.wantNoMore(2)
				o.wantStored("JOBS.job.>", 1)
				o.wantStored("JOBS.>", 1)
			}
			o.finish <- nil
			o.wantStored("JOBS.>", 0)
			o.wantNoMore(2)
		})
	}
}

// The owner that failed after a stale one has succeeded must not run the job again.
func TestAFailureAfterAStaleSuccessIsDropped(t *testing.T) {
	t.Parallel()
	o := takeOver(t, answers)
	o.must(o.proxy.Heal())
	o.answer <- nil
	o.wantStored("JOBS.>", 0)
	o.finish <- worker.Snooze(time.Minute)
	o.wantNoMore(2)
	o.wantStored("JOBS.>", 0)
}

func TestAStaleWorkerThatStopsPutsNothingBack(t *testing.T) {
	t.Parallel()
	o := takeOver(t, func(o *takeover) worker.Part {
		return worker.Handle(o.task, func(ctx context.Context, _ string) error {
			o.starts.Add(1)
			o.began <- "A"
			<-ctx.Done()
			return ctx.Err()
		})
	})
	o.must(o.proxy.Heal())
	o.stopA()
	o.lines.await(o.testEnv, nothingDone)
	o.wantStored("JOBS.>", 1)
	o.finish <- nil
	o.wantStored("JOBS.>", 0)
	o.wantNoMore(2)
}

// A worker that does not know the task is held up by its observer before it parks the job.
func TestAStaleWorkerParksNothing(t *testing.T) {
	t.Parallel()
	o := takeOver(t, func(o *takeover) worker.Part {
		return worker.Observer(func(context.Context, worker.Run) {
			o.starts.Add(1)
			o.began <- "A"
			<-o.answer
		})
	})
	o.must(o.proxy.Heal())
	o.answer <- nil
	o.lines.await(o.testEnv, nothingDone)
	o.wantStored("JOBS.>", 1)
	o.finish <- nil
	o.wantStored("JOBS.>", 0)
	o.wantNoMore(2)
}

// What arrives when its lease may be over is not begun.
func TestADeliveryThatComesTooLateIsNotBegun(t *testing.T) {
	t.Parallel()
	w, proxy, _ := proxied(t, &options{AckWait: 2 * time.Second})
	logged := w.hear()
	near, err := natsexec.New(w.ctx, w.js, streamName, w.opts.dispatch())
	w.must(err)
	ran := make(chan string, 10)
	stop := w.workOn(connect(t, "nats://"+proxy.Addr()), w.opts, worker.Handle(w.task, func(context.Context, string) error { ran <- "far"; return nil }))
	w.must(near.Execute(w.ctx, w.intent("first")))
	next(w, ran)
	w.wantStored("JOBS.>", 0)
	proxy.Delay(2500 * time.Millisecond) // as long as a frozen process
	w.must(near.Execute(w.ctx, w.intent("late")))
	logged.await(w, "came too late")
	proxy.Delay(0)
	w.must(stop())
	if len(ran) > 0 {
		t.Errorf("it ran")
	}
	w.work(func(context.Context, string) error { ran <- "near"; return nil })
	if got := next(w, ran); got != "near" {
		t.Errorf("ran %s", got)
	}
	w.wantStored("JOBS.>", 0)
}

// A server that was restarted delivers again what a worker still runs.
func TestAJobIsNotRunTwiceByOneWorker(t *testing.T) {
	t.Parallel()
	w, proxy, _ := proxied(t, &options{AckWait: 2 * time.Second})
	started, proceed := make(chan int, 10), make(chan struct{})
	w.workOn(connect(t, "nats://"+proxy.Addr()), w.opts, worker.Handle(w.task, func(ctx context.Context, _ string) error {
		job, _ := worker.JobFrom(ctx)
		started <- job.Attempt
		<-proceed
		return errors.New("again")
	}))
	near, err := natsexec.New(w.ctx, w.js, streamName, w.opts.dispatch())
	w.must(err)
	w.must(near.Execute(w.ctx, w.intent("a", core.MaxAttempts(3), core.Backoff(core.Fixed(10*time.Millisecond)))))
	next(w, started)
	proxy.Down() // the lease ends
	time.Sleep(3 * time.Second)
	w.must(proxy.Up())
	consumer, err := w.js.Consumer(w.ctx, streamName, "default")
	w.must(err)
	for redelivered := false; !redelivered; time.Sleep(20 * time.Millisecond) { // to the same worker, which still runs it
		info, err := consumer.Info(w.ctx)
		w.must(err)
		redelivered = info.NumRedelivered > 0
	}
	select {
	case n := <-started:
		t.Errorf("attempt %d began while the first ran", n)
	case <-time.After(500 * time.Millisecond):
	}
	close(proceed)
	for want := 2; want <= 3; want++ { // the second delivery was no attempt
		if got := next(w, started); got != want {
			t.Errorf("attempt %d, want %d", got, want)
		}
	}
	m := w.message("JOBS.dead.default.test.work")
	if got := m.Header.Get("Airlock-Attempts"); got != "3" || !strings.Contains(m.Header.Get("Airlock-Reason"), "again") {
		t.Errorf("attempts %s, reason %s", got, m.Header.Get("Airlock-Reason"))
	}
}
