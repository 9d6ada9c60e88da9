package nats_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/core"
	natsexec "github.com/goairlock/airlock/executors/nats"
	"github.com/goairlock/airlock/worker"
)

func TestABatchKeepsItsOrder(t *testing.T) {
	t.Parallel()
	w := setup(t, &options{Concurrency: 1})
	const n = 3000 // more than are under way at a time
	var intents []core.Intent
	for i := range n {
		intents = append(intents, w.intent(fmt.Sprint(i)))
	}
	w.send(intents...)
	if got := w.stored("JOBS.job.>"); got != n {
		t.Fatalf("%d stored, want %d", got, n)
	}
	ran := make(chan string, n)
	w.work(func(_ context.Context, arg string) error { ran <- arg; return nil })
	for i := range 300 {
		if got := next(w, ran); got != fmt.Sprint(i) {
			t.Fatalf("job %s ran as number %d", got, i)
		}
	}
}

func TestTheSameIntentAgainIsNoSecondJob(t *testing.T) {
	t.Parallel()
	w := setup(t, &options{Lanes: true})
	generated, chosen := w.intent("a"), w.intent("b", core.ID("b-1"))
	w.wantStates(w.states(generated, chosen, generated, chosen), core.Accepted, core.Accepted, core.Accepted, core.Duplicate)
	w.wantStates(w.states(generated), core.Accepted)
	w.wantStates(w.states(chosen), core.Duplicate)
	other := w.intent("c", core.ID("b-1"), core.Queue("other"), core.Priority(9))
	w.wantStates(w.states(other), core.Duplicate) // the ID is the stream's, in every queue and lane
	w.wantStored("JOBS.>", 2)
}

func TestPastItsWindowAnIDIsFreeAgain(t *testing.T) {
	t.Parallel()
	w := bare(t, startNATS(t), nil)
	w.must(natsexec.EnsureStream(w.ctx, w.js, streamName, &natsexec.StreamOptions{Window: 200 * time.Millisecond}))
	w.open()
	chosen := w.intent("a", core.ID("a-1"))
	w.send(chosen)
	for w.states(chosen)[0] != core.Accepted {
		time.Sleep(20 * time.Millisecond)
	}
	w.wantStored("JOBS.>", 2)
}

func TestADelayedIntentAgainIsNoSecondJob(t *testing.T) {
	t.Parallel()
	w := bare(t, startNATS(t), nil)
	w.must(natsexec.EnsureStream(w.ctx, w.js, streamName, &natsexec.StreamOptions{Window: 100 * time.Millisecond}))
	w.open()
	generated, chosen := w.intent("a", core.Delay(time.Hour)), w.intent("b", core.Delay(time.Hour), core.ID("b-1"))
	w.send(generated, chosen)
	first := w.message("JOBS.at.>").Sequence
	time.Sleep(300 * time.Millisecond) // past the window: known by its subject
	w.wantStates(w.states(generated, chosen), core.Accepted, core.Duplicate)
	w.wantStates(w.states(w.intent("c", core.Delay(time.Minute), core.ID("b-1"))), core.Duplicate)
	if got := w.message("JOBS.at.>").Sequence; got != first {
		t.Errorf("the schedule was replaced: sequence %d, was %d", got, first)
	}
	w.wantStored("JOBS.at.>", 2)
}

func TestADelayIsNeverEarlyByAFraction(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	type run struct {
		arg string
		at  time.Time
	}
	ran := make(chan run, 10)
	w.work(func(_ context.Context, arg string) error { ran <- run{arg, time.Now()}; return nil })
	due := map[string]time.Time{}
	base := time.Now().Truncate(time.Second).Add(2 * time.Second)
	for i, after := range []time.Duration{1, 640 * time.Millisecond, 999_999_999} {
		arg := fmt.Sprint(i)
		due[arg] = base.Add(after)
		w.send(w.intent(arg, core.At(due[arg])))
	}
	for range due {
		r := next(w, ran)
		if r.at.Before(due[r.arg]) {
			t.Errorf("job %s ran %v early", r.arg, due[r.arg].Sub(r.at))
		}
	}
}

func TestTwoDelayedJobsOfOneTaskBothRunAndKeepTheirIdentity(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	jobs := make(chan worker.Job, 4)
	w.work(func(ctx context.Context, arg string) error {
		job, _ := worker.JobFrom(ctx)
		jobs <- job
		return nil
	})
	at := time.Now().Add(300 * time.Millisecond)
	a := w.intent("a", core.At(at), core.Header("Tenant", "blue"))
	b := w.intent("b", core.At(at), core.ID("b*.>1"), core.MaxAttempts(3))
	w.send(a, b)
	seen := map[string]worker.Job{}
	for range 2 {
		job := next(w, jobs)
		seen[job.ID] = job
	}
	if seen[a.ID].Headers.Get("Tenant") != "blue" || seen[a.ID].Headers.Len() != 1 || seen[b.ID].MaxAttempts != 3 || seen[b.ID].Attempt != 1 {
		t.Errorf("jobs %+v", seen)
	}
	w.wantStates(w.states(a, b), core.Accepted, core.Duplicate) // after they ran
}

func TestATimeThatIsPastMeansAtOnce(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	w.send(w.intent("a", core.At(time.Now().Add(-time.Hour))))
	w.wantStored("JOBS.job.>", 1)
}

func TestHeadersArriveAsTheyWere(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	want := map[string]string{
		"Tenant": "blue", "case-Kept": "ä€", "Empty": "", "Edges": "  both  ", "Tab": "a\tb", "Control": "a\x01b",
		// NATS's own, which a job must not be able to set.
		"Nats-Msg-Id": "mine", "nats-Expected-Stream": "other", "Nats-Schedule": "@at never", "Nats-Scheduler": "x",
		"Status": "503", "Description": "No Messages",
	}
	var opts []core.Option
	for k, v := range want {
		opts = append(opts, core.Header(k, v))
	}
	empty := core.DeclareTask[[]byte]("test.bytes").Codec(core.Raw)
	in, err := empty.Intent(nil, opts...)
	w.must(err)
	if len(in.Payload()) != 0 {
		t.Fatalf("payload of %d bytes, want none", len(in.Payload()))
	}
	jobs := make(chan worker.Job, 1)
	w.workOn(w.js, w.opts, worker.Handle(empty, func(ctx context.Context, _ []byte) error {
		job, _ := worker.JobFrom(ctx)
		jobs <- job
		return nil
	}))
	w.send(in)
	job := next(w, jobs)
	if job.ID != in.ID || job.Headers.Len() != len(want) {
		t.Errorf("ID %s with %d headers, want %s with %d", job.ID, job.Headers.Len(), in.ID, len(want))
	}
	for k, v := range want {
		if got := job.Headers.Get(k); got != v {
			t.Errorf("header %s: %q, want %q", k, got, v)
		}
	}
}

func TestTheLargestPayloadIsWhatIsDeclared(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	most := w.exec.Capabilities().MaxPayload
	arg := strings.Repeat("x", most-2) // two quotes
	w.send(w.intent(arg))
	w.wantStates(w.states(w.intent(arg+"x"), w.intent("small")), core.Rejected, core.NotSent)
	w.send(w.intent(arg, core.Header("K", strings.Repeat("v", 30_000)))) // with the largest headers
	// Control characters take six bytes each in the envelope.
	w.wantStates(w.states(w.intent("small", core.Header("K", strings.Repeat("\x01", 20_000)))), core.Rejected)
	if err := w.exec.Execute(w.ctx, w.intent(arg+"x")); !errors.Is(err, core.ErrTooLarge) {
		t.Errorf("error %v", err)
	}
	w.wantStored("JOBS.>", 2)
}

func TestNamesCannotWidenASubject(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	for _, in := range []core.Intent{
		{ID: "1", Task: "a.*"}, {ID: "2", Task: "a.>"}, {ID: "3", Task: "a..b"}, {ID: "4", Task: "a b"},
		{ID: "5", Task: "ab", Options: core.Options{Queue: "*"}}, {ID: "6", Task: "ab", Options: core.Options{Queue: "a.b"}},
		{ID: "7", Task: "ab", Options: core.Options{Queue: ">"}},
	} {
		if err := w.exec.Execute(w.ctx, in); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("task %q, queue %q: %v", in.Task, in.Options.Queue, err)
		}
	}
	w.send(w.intent("a", core.ID("*.>"), core.Unique("*.> x"), core.Delay(time.Hour)))
	w.wantStored("JOBS.at.default.test.work.*", 1)
	w.wantStored("JOBS.>", 1)
}

func TestWithoutSchedulesADelayIsRefused(t *testing.T) {
	t.Parallel()
	w := bare(t, startNATS(t), nil)
	_, err := w.js.CreateStream(w.ctx, jetstream.StreamConfig{
		Name: streamName, Subjects: []string{"JOBS.>"}, Retention: jetstream.WorkQueuePolicy,
	})
	w.must(err)
	w.open()
	if got := w.exec.Capabilities().Options[core.OptionDelay].Support; got != core.SupportRefused {
		t.Errorf("delay is claimed as %q", got)
	}
	err = w.exec.Execute(w.ctx, w.intent("a", core.Delay(time.Hour)))
	var refused *core.OptionError
	if !errors.As(err, &refused) || refused.Option != core.OptionDelay || refused.Executor != "nats" {
		t.Errorf("error %v", err)
	}
	w.wantStored("JOBS.>", 0)
	w.opts.Atomic = true
	if _, err := natsexec.New(w.ctx, w.js, streamName, w.opts.dispatch()); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("atomic without allow_atomic: %v", err)
	}
}

func TestAStreamThatIsGoneTakesNothing(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	w.must(w.js.DeleteStream(w.ctx, streamName))
	for _, n := range []int{1, 3} {
		var intents []core.Intent
		for range n {
			intents = append(intents, w.intent("a"))
		}
		err := w.exec.Execute(w.ctx, intents...)
		if !errors.Is(err, core.ErrUnavailable) || !errors.Is(err, jetstream.ErrNoStreamResponse) {
			t.Errorf("%d intents: %v", n, err)
		}
	}
}

func TestAClosedConnectionIsToldAtOnce(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	w.conn.Close()
	err := w.exec.Execute(w.ctx, w.intent("a"), w.intent("b"))
	if !errors.Is(err, core.ErrUnavailable) || !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("error %v", err)
	}
}
