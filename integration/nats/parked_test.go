package nats_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/core"
	natsexec "github.com/goairlock/airlock/executors/nats"
	"github.com/goairlock/airlock/worker"
)

// bothKinds runs a test on a stream with schedules and on one without.
func bothKinds(t *testing.T, opts options, test func(w *testEnv)) {
	t.Run("with schedules", func(t *testing.T) {
		t.Parallel()
		own := opts
		test(setup(t, &own))
	})
	t.Run("without schedules", func(t *testing.T) {
		t.Parallel()
		own := opts
		w := bare(t, startNATS(t), &own)
		_, err := w.js.CreateStream(w.ctx, jetstream.StreamConfig{
			Name: streamName, Subjects: []string{"JOBS.>"}, Retention: jetstream.WorkQueuePolicy, Duplicates: time.Minute,
		})
		w.must(err)
		w.open()
		test(w)
	})
}

// A job in its only attempt, on a worker with one slot that does not know it.
func TestAParkedJobCostsNoAttemptAndBlocksNobody(t *testing.T) {
	t.Parallel()
	bothKinds(t, options{ParkFor: 300 * time.Millisecond, Concurrency: 1}, func(w *testEnv) {
		parked := make(chan struct{}, 1000)
		ran := make(chan string, 10)
		stop := w.workOn(w.js, w.opts, worker.Handle(w.task, func(_ context.Context, arg string) error { ran <- arg; return nil }),
			worker.Observer(func(_ context.Context, run worker.Run) {
				if run.Verdict.Action == worker.Parked {
					parked <- struct{}{}
				}
			}))
		stranger := core.DeclareTask[string]("test.stranger")
		in, err := stranger.Intent("a", core.MaxAttempts(1), core.Header("Tenant", "blue"), core.Unique("k"))
		w.must(err)
		later := plain("JOBS.job.default.test.later", `"a"`)
		later.Header.Set("Airlock-Envelope", `{"v":99,"id":"later-1"}`)
		later.Header.Set("Nats-Msg-Id", "later-1")
		_, err = w.js.PublishMsg(w.ctx, later)
		w.must(err)
		w.send(in)
		for range 8 { // four times each
			next(w, parked)
		}
		w.send(w.intent("good"))
		next(w, ran)
		another, err := stranger.Intent("b", core.Unique("k"))
		w.must(err)
		w.wantStates(w.states(another), core.Duplicate)
		w.wantStored("JOBS.dead.>", 0)
		w.must(stop())

		jobs := make(chan worker.Job, 10)
		w.workOn(w.js, w.opts, worker.Handle(stranger, func(ctx context.Context, arg string) error {
			job, _ := worker.JobFrom(ctx)
			jobs <- job
			return errors.New("its only attempt")
		}))
		if job := next(w, jobs); job.ID != in.ID || job.Attempt != 1 || job.MaxAttempts != 1 || job.Headers.Get("Tenant") != "blue" {
			t := job
			w.Errorf("job %+v", t)
		}
		w.wantStored("JOBS.dead.default.test.stranger", 1)
		w.wantStored("JOBS.>", 2)
		m := w.anyMessage("JOBS.*.default.test.later.>", "JOBS.*.default.test.later") // its identity is kept, although nobody here can read it
		if got := m.Header.Get("Airlock-Envelope"); got != `{"v":99,"id":"later-1"}` {
			w.Errorf("envelope %s", got)
		}
		if got := m.Header.Get("Airlock-Id"); got != "later-1" {
			w.Errorf("ID %q", got)
		}
	})
}

// anyMessage waits for a message on one of the subjects.
func (w *testEnv) anyMessage(subjects ...string) *jetstream.RawStreamMsg {
	w.Helper()
	stream, err := w.js.Stream(w.ctx, streamName)
	w.must(err)
	for {
		for _, subject := range subjects {
			if m, err := stream.GetMsg(w.ctx, 1, jetstream.WithGetMsgSubject(subject)); err == nil {
				return m
			} else if !errors.Is(err, jetstream.ErrMsgNotFound) {
				w.Fatal(err)
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestSnoozesAndLongWaitsKeepTheCount(t *testing.T) {
	t.Parallel()
	bothKinds(t, options{AckWait: time.Second}, func(w *testEnv) {
		type run struct {
			attempt int
			at      time.Time
		}
		runs := make(chan run, 20)
		n := 0
		w.work(func(ctx context.Context, _ string) error {
			job, _ := worker.JobFrom(ctx)
			runs <- run{job.Attempt, time.Now()}
			switch n++; n {
			case 1, 3, 4:
				return worker.Snooze(1500 * time.Millisecond) // longer than the lease
			}
			return errors.New("again")
		})
		w.send(w.intent("a", core.MaxAttempts(3), core.Backoff(core.Fixed(1200*time.Millisecond))))
		var last time.Time
		for i, want := range []run{{attempt: 1}, {attempt: 1}, {attempt: 2}, {attempt: 2}, {attempt: 2}, {attempt: 3}} {
			r := next(w, runs)
			if r.attempt != want.attempt {
				w.Errorf("run %d is attempt %d, want %d", i, r.attempt, want.attempt)
			}
			if i > 0 && r.at.Sub(last) < 1200*time.Millisecond {
				w.Errorf("run %d after %v", i, r.at.Sub(last))
			}
			last = r.at
		}
		w.wantStored("JOBS.dead.>", 1)
		w.wantStored("JOBS.>", 1)
		if got := w.message("JOBS.dead.>").Header.Get("Airlock-Attempts"); got != "3" {
			w.Errorf("%s attempts", got)
		}
	})
}

// On a stream without schedules jobs wait in their consumer.
func TestWaitingJobsNeedAConsumerWithoutALimit(t *testing.T) {
	t.Parallel()
	w := bare(t, startNATS(t), nil)
	_, err := w.js.CreateStream(w.ctx, jetstream.StreamConfig{Name: streamName, Subjects: []string{"JOBS.>"}, Retention: jetstream.WorkQueuePolicy})
	w.must(err)
	_, err = w.js.CreateConsumer(w.ctx, streamName, jetstream.ConsumerConfig{
		Durable: "default", FilterSubject: "JOBS.job.default.>", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 1000,
	})
	w.must(err)
	if err := w.runBriefly(); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("%v", err)
	}
}

// A job that ends its process uses up an attempt, and is dead when there is none left.
func TestAnAttemptCountsWhenItBegins(t *testing.T) {
	t.Parallel()
	for _, attempts := range []int{1, 2} {
		t.Run(fmt.Sprint(attempts), func(t *testing.T) {
			t.Parallel()
			w := setup(t, &options{AckWait: 2 * time.Second})
			begun := make(chan int, 10)
			w.send(w.intent("a", core.MaxAttempts(attempts), core.Header("Tenant", "blue")))
			for want := 1; want <= attempts; want++ {
				js := connect(t, w.conn.ConnectedUrl())
				reg, err := worker.NewRegistry(worker.Handle(w.task, func(ctx context.Context, _ string) error {
					job, _ := worker.JobFrom(ctx)
					js.Conn().Close() // as the end of the process would
					begun <- job.Attempt
					return nil
				}))
				w.must(err)
				dies, err := natsexec.NewWorker(js, streamName, reg, w.opts.work())
				w.must(err)
				died := make(chan error, 1)
				go func() { died <- dies.Run(w.ctx) }()
				if got := next(w, begun); got != want {
					t.Errorf("attempt %d, want %d", got, want)
				}
				if err := next(w, died); err == nil {
					t.Error("it lives")
				}
			}
			logged := w.hear()
			reported := make(chan worker.Run, 1)
			w.workOn(w.js, w.opts, worker.Handle(w.task, func(context.Context, string) error { begun <- 0; return nil }),
				worker.Observer(func(_ context.Context, run worker.Run) { reported <- run }))
			if run := next(w, reported); run.Verdict.Action != worker.Dead || run.Delivery.Attempt != attempts || run.Took != 0 {
				t.Errorf("run %+v", run)
			}
			logged.await(w, "job dead")
			m := w.message("JOBS.dead.default.test.work")
			want := fmt.Sprintf("airlock: nats: all %d attempts are used up: the worker that began the last one never answered", attempts)
			if got := m.Header.Get("Airlock-Reason"); got != want {
				t.Errorf("reason %q", got)
			}
			if got := m.Header.Get("Airlock-Attempts"); got != fmt.Sprint(attempts) || m.Header.Get("Tenant") != "blue" {
				t.Errorf("%s attempts", got)
			}
			if len(begun) > 0 {
				t.Error("it ran once more")
			}
		})
	}
}

// As an operator does it, with all headers but one.
func TestADeadJobCanBePutBack(t *testing.T) {
	t.Parallel()
	w := setup(t, &options{Lanes: true})
	jobs := make(chan worker.Job, 10)
	broken := true // of the handler, one job at a time
	w.work(func(ctx context.Context, _ string) error {
		job, _ := worker.JobFrom(ctx)
		if jobs <- job; broken {
			return errors.New("not now")
		}
		return nil
	})
	in := w.intent("a", core.MaxAttempts(2), core.Backoff(core.Fixed(10*time.Millisecond)), core.Priority(9), core.Header("Tenant", "blue"), core.Unique("k"))
	w.send(in)
	for round := range 2 {
		next(w, jobs)
		next(w, jobs)
		m := w.message("JOBS.dead.default.test.work")
		if got := m.Header.Get("Airlock-Reason"); got != "not now" {
			t.Errorf("reason %q", got)
		}
		broken = round == 0
		back := plain(m.Header.Get("Airlock-Subject"), string(m.Data))
		for k, v := range m.Header {
			if k != "Nats-Msg-Id" {
				back.Header[k] = v
			}
		}
		_, err := w.js.PublishMsg(w.ctx, back)
		w.must(err)
		stream, err := w.js.Stream(w.ctx, streamName)
		w.must(err)
		w.must(stream.DeleteMsg(w.ctx, m.Sequence))
	}
	job := next(w, jobs)
	if job.ID != in.ID || job.Attempt != 1 || job.MaxAttempts != 2 || job.Headers.Get("Tenant") != "blue" || job.Headers.Len() != 1 {
		t.Errorf("job %+v", job)
	}
	w.wantStored("JOBS.>", 0)
}
