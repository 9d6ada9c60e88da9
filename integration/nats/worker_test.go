package nats_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

func TestJobsRunSideBySideAndNoMoreAreFetchedThanRun(t *testing.T) {
	t.Parallel()
	const slots = 4
	w := setup(t, &options{Concurrency: slots})
	var running, most atomic.Int64
	full, proceed := make(chan struct{}, 1), make(chan struct{})
	stop := w.work(func(context.Context, string) error {
		n := running.Add(1)
		defer running.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		if n == slots {
			select {
			case full <- struct{}{}:
			default:
			}
		}
		<-proceed
		return nil
	})
	var intents []core.Intent
	for range 40 {
		intents = append(intents, w.intent("a"))
	}
	w.send(intents...)
	next(w, full)
	consumer, err := w.js.Consumer(w.ctx, streamName, "default")
	w.must(err)
	if n := consumer.CachedInfo().NumAckPending; n > slots {
		t.Errorf("%d jobs have left the stream for %d slots", n, slots)
	}
	close(proceed)
	w.wantStored("JOBS.>", 0)
	w.must(stop())
	if most.Load() != slots {
		t.Errorf("%d jobs at a time, want %d", most.Load(), slots)
	}
}

func TestAttemptsAreCountedOverWorkersAndMessages(t *testing.T) {
	t.Parallel()
	// Waits beyond the consumer's ack_wait make the job a message of its own.
	w := setup(t, &options{AckWait: 4 * time.Second, Concurrency: 2})
	attempts := make(chan int, 10)
	handler := worker.Handle(w.task, func(ctx context.Context, _ string) error {
		job, _ := worker.JobFrom(ctx)
		attempts <- job.Attempt
		return errors.New("again")
	})
	for range 3 {
		w.workOn(connect(t, w.conn.ConnectedUrl()), w.opts, handler)
	}
	w.send(w.intent("a", core.MaxAttempts(5), core.Backoff(core.Exponential(2100*time.Millisecond, 4500*time.Millisecond))))
	for want := 1; want <= 5; want++ {
		if got := next(w, attempts); got != want {
			t.Fatalf("attempt %d, want %d", got, want)
		}
	}
	w.wantStored("JOBS.dead.>", 1)
	w.wantStored("JOBS.>", 1)
	select {
	case n := <-attempts:
		t.Errorf("attempt %d of 5", n)
	default:
	}
}

func TestADeadJobTellsWhyAndKeepsWhatItHad(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	w.work(func(context.Context, string) error { return worker.Permanent(errors.New("card\r\nexpired")) })
	in := w.intent("payload", core.Queue("default"), core.Header("Tenant", "blue"), core.MaxAttempts(9))
	w.send(in)
	m := w.message("JOBS.dead.default.test.work")
	if string(m.Data) != `"payload"` || m.Header.Get("Tenant") != "blue" || m.Header.Get("Airlock-Attempts") != "1" {
		t.Errorf("dead letter %q with %v", m.Data, m.Header)
	}
	if got := m.Header.Get("Airlock-Reason"); got != "card  expired" {
		t.Errorf("reason %q", got)
	}
	env, err := adapter.DecodeEnvelope([]byte(m.Header.Get("Airlock-Envelope")))
	if err != nil || env.ID != in.ID || env.MaxAttempts != 9 {
		t.Errorf("envelope %+v: %v", env, err)
	}
	w.wantStored("JOBS.job.>", 0)
}

func TestAJobThatCannotBeReadIsDead(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	ran := make(chan string, 1)
	w.work(func(_ context.Context, arg string) error { ran <- arg; return nil })
	for _, m := range [][2]string{{"{", ""}, {`"a"`, "{"}, {`"a"`, `{"v":1,"max_attempts":-1}`}} {
		msg := plain("JOBS.job.default.test.work", m[0])
		if m[1] != "" {
			msg.Header.Set("Airlock-Envelope", m[1])
		}
		_, err := w.js.PublishMsg(w.ctx, msg)
		w.must(err)
	}
	w.send(w.intent("good"))
	if got := next(w, ran); got != "good" {
		t.Errorf("ran %q", got)
	}
	w.wantStored("JOBS.dead.>", 3)
	w.wantStored("JOBS.>", 3)
}

func TestALongJobIsNotGivenToAnother(t *testing.T) {
	t.Parallel()
	w := setup(t, &options{AckWait: 3 * time.Second})
	started, proceed := make(chan int, 4), make(chan struct{})
	handler := worker.Handle(w.task, func(ctx context.Context, _ string) error {
		job, _ := worker.JobFrom(ctx)
		started <- job.Attempt
		<-proceed
		return nil
	})
	w.workOn(w.js, w.opts, handler)
	w.workOn(connect(t, w.conn.ConnectedUrl()), w.opts, handler)
	w.send(w.intent("a"))
	next(w, started)
	select {
	case n := <-started:
		t.Errorf("attempt %d began while the first ran", n)
	case <-time.After(10 * time.Second): // more than three times the ack_wait
	}
	close(proceed)
	w.wantStored("JOBS.>", 0)
}

func TestWaitingJobsDoNotStopOthers(t *testing.T) {
	t.Parallel()
	w := setup(t, &options{ParkFor: time.Hour})
	// Of a consumer that somebody made, with room for no more than ten.
	_, err := w.js.CreateConsumer(w.ctx, streamName, jetstream.ConsumerConfig{
		Durable: "default", FilterSubject: "JOBS.job.default.>", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 10,
		AckWait: 5 * time.Second,
	})
	w.must(err)
	ran := make(chan string, 100)
	w.work(func(_ context.Context, arg string) error {
		ran <- arg
		switch arg {
		case "fails":
			return errors.New("again")
		case "snoozes":
			return worker.Snooze(time.Hour)
		}
		return nil
	})
	stranger := core.DeclareTask[string]("test.stranger")
	var intents []core.Intent
	for i := range 12 {
		unknown, err := stranger.Intent(fmt.Sprint(i))
		w.must(err)
		intents = append(intents, unknown, w.intent("fails", core.Backoff(core.Fixed(time.Hour))), w.intent("snoozes"))
	}
	w.send(append(intents, w.intent("last"))...)
	for got := ""; got != "last"; got = next(w, ran) {
	}
	w.wantStored("JOBS.at.>", 36)
	w.wantStored("JOBS.>", 36)
}

func TestASnoozeCostsNoAttempt(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	type run struct {
		job worker.Job
		at  time.Time
	}
	runs := make(chan run, 10)
	n := 0
	w.work(func(ctx context.Context, _ string) error {
		job, _ := worker.JobFrom(ctx)
		runs <- run{job, time.Now()}
		switch n++; n {
		case 1, 3:
			return worker.Snooze(100 * time.Millisecond)
		case 2:
			return errors.New("again")
		}
		return nil
	})
	in := w.intent("a", core.MaxAttempts(2), core.Unique("k"), core.Backoff(core.Fixed(50*time.Millisecond)), core.Header("K", "v"))
	w.send(in)
	var last time.Time
	for i, want := range []int{1, 1, 2, 2} {
		r := next(w, runs)
		if r.job.Attempt != want || r.job.ID != in.ID || r.job.Headers.Get("K") != "v" || r.job.MaxAttempts != 2 {
			t.Errorf("run %d: %+v, want attempt %d", i, r.job, want)
		}
		if i > 0 && r.at.Sub(last) < 50*time.Millisecond {
			t.Errorf("run %d after %v", i, r.at.Sub(last))
		}
		last = r.at
	}
	w.wantStored("JOBS.>", 0)
}

func TestAnUnknownTaskIsParkedForAWorkerThatKnowsIt(t *testing.T) {
	t.Parallel()
	w := setup(t, &options{ParkFor: 300 * time.Millisecond})
	stop := w.workOn(w.js, w.opts) // knows nothing
	in := w.intent("a", core.MaxAttempts(1))
	w.send(in)
	w.wantStored("JOBS.at.>", 1)
	w.must(stop())
	jobs := make(chan worker.Job, 1)
	w.work(func(ctx context.Context, _ string) error {
		job, _ := worker.JobFrom(ctx)
		jobs <- job
		return nil
	})
	if job := next(w, jobs); job.ID != in.ID || job.Attempt != 1 {
		t.Errorf("job %+v", job)
	}
	w.wantStored("JOBS.>", 0)
}

func TestPanicsAndGoexitAreFailedAttempts(t *testing.T) {
	t.Parallel()
	w := setup(t, &options{Concurrency: 1})
	ran := make(chan string, 20)
	w.work(func(_ context.Context, arg string) error {
		ran <- arg
		switch arg {
		case "panic":
			panic("no")
		case "goexit":
			runtime.Goexit()
		}
		return nil
	})
	w.send(w.intent("panic", core.MaxAttempts(1)), w.intent("goexit", core.MaxAttempts(1)), w.intent("good"))
	for _, want := range []string{"panic", "goexit", "good"} {
		if got := next(w, ran); got != want {
			t.Errorf("ran %s, want %s", got, want)
		}
	}
	w.wantStored("JOBS.dead.>", 2)
	w.wantStored("JOBS.job.>", 0)
}

func TestTimeoutAndDeadline(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	ended := make(chan error, 4)
	w.work(func(ctx context.Context, _ string) error {
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	})
	w.send(w.intent("a", core.Timeout(200*time.Millisecond), core.MaxAttempts(1)))
	if err := next(w, ended); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ended with %v", err)
	}
	w.send(w.intent("b", core.Deadline(time.Now().Add(10*time.Second)), core.Backoff(core.Fixed(time.Hour))))
	next(w, ended)
	w.wantStored("JOBS.dead.>", 2) // no retry after the deadline
}
