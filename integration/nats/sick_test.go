package nats_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// doesNotFit changes a consumer so that no worker may use it: it leaves the payloads out.
func (w *testEnv) doesNotFit(durable string, anew bool) {
	w.Helper()
	consumer, err := w.js.Consumer(w.ctx, streamName, durable)
	w.must(err)
	cfg := consumer.CachedInfo().Config
	if anew {
		w.must(w.js.DeleteConsumer(w.ctx, streamName, durable))
	}
	cfg.HeadersOnly = true
	for {
		_, err = w.js.CreateOrUpdateConsumer(w.ctx, streamName, cfg)
		// The server removes the folder of a deleted consumer late, perhaps that of the new one of the same name.
		if api := (*jetstream.APIError)(nil); !errors.As(err, &api) || api.Code != 500 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	w.must(err)
}

const misfit = "until its consumer is changed or deleted"

// misfitOrRun waits for the line about a consumer that does not fit, and returns "" if a job runs before.
func (w *testEnv) misfitOrRun(logged lines, ran <-chan string) string {
	w.Helper()
	for {
		select {
		case line := <-logged:
			if strings.Contains(line, misfit) {
				return line
			}
		case <-ran:
			return ""
		case <-w.ctx.Done():
			w.Fatal(w.ctx.Err())
		}
	}
}

func TestASickQueueDoesNotSlowTheOthers(t *testing.T) {
	t.Parallel()
	w := setup(t, &options{Queues: []string{"default", "mail"}, Concurrency: 4})
	logged := w.hear()
	ran := make(chan string, 1000)
	w.work(func(_ context.Context, arg string) error { ran <- arg; return nil })
	w.send(w.intent("first"))
	next(w, ran)
	for { // until its consumer is there
		if _, err := w.js.Consumer(w.ctx, streamName, "mail"); err == nil {
			break
		}
	}
	w.doesNotFit("mail", false)
	w.send(w.intent("kept", core.Queue("mail")))
	logged.await(w, misfit)
	began := time.Now()
	for range 100 { // one after the other
		w.send(w.intent("healthy"))
		if got := next(w, ran); got != "healthy" {
			t.Fatalf("ran %q", got)
		}
	}
	if took := time.Since(began); took > 20*time.Second { // the pauses of the sick queue would be 50 seconds and more
		t.Errorf("100 jobs of the healthy queue took %v", took)
	}
	w.wantStored("JOBS.job.mail.>", 1)
}

// A consumer that is changed, or made anew by somebody else, may deliver what the worker must not act on. Its jobs have one
// attempt, which is not used up by that.
func TestAConsumerThatNoLongerFitsBuriesNothing(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ anew, back bool }{
		"changed and deleted":      {},
		"changed and changed back": {back: true},
		"made anew and deleted":    {anew: true},
		"made anew and changed":    {anew: true, back: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := setup(t, &options{Concurrency: 2, AckWait: 2 * time.Second})
			logged := w.hear()
			ran := make(chan string, 100)
			w.work(func(_ context.Context, arg string) error { ran <- arg; return nil })
			w.send(w.intent("first"))
			next(w, ran)
			w.wantStored("JOBS.>", 0)
			line := ""
			for tries := 3; ; tries-- {
				w.doesNotFit("default", tc.anew)
				for range 5 {
					w.send(w.intent("kept", core.MaxAttempts(1)))
				}
				if line = w.misfitOrRun(logged, ran); line != "" {
					break
				}
				if !tc.anew || tries == 0 {
					t.Fatal("a job ran")
				}
				w.wantStored("JOBS.>", 0) // the server removed the new consumer together with the old one, and the worker made its own
				for len(ran) > 0 {
					next(w, ran)
				}
			}
			if !strings.Contains(line, "level=ERROR") || !strings.Contains(line, "headers_only") || !strings.Contains(line, "queue=default") {
				t.Errorf("logged %s", line)
			}
			time.Sleep(3 * time.Second) // several looks, and more than ack_wait
			for len(logged) > 0 {
				if line := next(w, logged); strings.Contains(line, misfit) {
					t.Errorf("logged again: %s", line)
				}
			}
			w.wantStored("JOBS.job.>", 5)
			w.wantStored("JOBS.>", 5)
			if tc.back {
				consumer, err := w.js.Consumer(w.ctx, streamName, "default")
				w.must(err)
				cfg := consumer.CachedInfo().Config
				cfg.HeadersOnly = false
				_, err = w.js.UpdateConsumer(w.ctx, streamName, cfg)
				w.must(err)
			} else {
				w.must(w.js.DeleteConsumer(w.ctx, streamName, "default"))
			}
			for range 5 {
				if got := next(w, ran); got != "kept" {
					t.Errorf("ran %q", got)
				}
			}
			logged.await(w, "fetches jobs of a queue again")
			w.wantStored("JOBS.>", 0)
		})
	}
}

// A worker without lanes next to one that serves them, whose only slot is busy.
func TestLanesThatAnotherWorkerServesAreNotLogged(t *testing.T) {
	t.Parallel()
	w := setup(t, &options{Lanes: true, Concurrency: 1})
	began, proceed := make(chan string, 10), make(chan struct{})
	handler := worker.Handle(w.task, func(_ context.Context, arg string) error { began <- arg; <-proceed; return nil })
	w.workOn(w.js, w.opts, handler)
	w.send(w.intent("a", core.Priority(9)))
	next(w, began)
	w.send(w.intent("b", core.Priority(9)))
	without := *w.opts
	without.Lanes = false
	logged := make(lines, 1000)
	without.Logger = logged.logger()
	stop := w.workOn(w.js, &without, handler)
	time.Sleep(3 * time.Second) // it has looked twice
	close(proceed)
	next(w, began)
	w.must(stop())
	for len(logged) > 0 {
		if line := next(w, logged); strings.Contains(line, "lanes") {
			t.Errorf("logged %s", line)
		}
	}
	if _, err := w.js.Consumer(w.ctx, streamName, "default--high"); err != nil {
		t.Error(err)
	}
}

// The user may not do anything with one queue's consumer. The worker's other queue is worked from the start.
func TestAQueueThatIsSickFromTheStartDoesNotHoldUpTheOthers(t *testing.T) {
	t.Parallel()
	admin, app := limited(t, &server.Permissions{Publish: &server.SubjectPermission{
		Deny: []string{"$JS.API.CONSUMER.INFO.JOBS.mail", "$JS.API.CONSUMER.MSG.NEXT.JOBS.mail", "$JS.API.CONSUMER.CREATE.JOBS.mail.>"},
	}})
	w := setupOn(t, admin, nil, &options{Queues: []string{"mail", "default"}, Concurrency: 4, AckTimeout: 30 * time.Second})
	logged := w.hear()
	ran := make(chan string, 100)
	w.workOn(connect(t, app), w.opts, worker.Handle(w.task, func(_ context.Context, arg string) error { ran <- arg; return nil }))
	for range 20 {
		w.send(w.intent("healthy"))
		next(w, ran)
	}
	w.send(w.intent("kept", core.Queue("mail")))
	line := ""
	for !strings.Contains(line, "of a queue, "+notYet) {
		line = next(w, logged)
	}
	if !strings.Contains(line, "queue=mail") {
		t.Errorf("logged %s", line)
	}
	w.wantStored("JOBS.job.mail.>", 1)
}

// A handler that hangs keeps its own job and no other one.
func TestAHandlerThatHangsKeepsNoOtherJob(t *testing.T) {
	t.Parallel()
	w := setup(t, &options{Concurrency: 2})
	began, proceed := make(chan string, 100), make(chan struct{})
	w.work(func(_ context.Context, arg string) error {
		began <- arg
		if arg == "hangs" {
			<-proceed
		}
		return nil
	})
	w.send(w.intent("hangs"))
	next(w, began)
	const n = 50
	w.send(w.some(n)...)
	for range n {
		next(w, began)
	}
	w.wantStored("JOBS.>", 1)
	close(proceed)
	w.wantStored("JOBS.>", 0)
}
