package trial

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// ErrDeclined is what handlers fail with.
var ErrDeclined = errors.New("declined")

// DelayIsNeverEarly tests delays from a millisecond on.
func DelayIsNeverEarly(t *Trial) {
	t.Serve(Succeed)
	due := map[string]time.Time{}
	var intents []core.Intent
	for i := range 10 {
		in := t.Intent("", core.Delay(time.Duration(i)*137*time.Millisecond+time.Millisecond))
		due[in.ID] = in.Options.At
		intents = append(intents, in)
	}
	t.Must(t.Execute(t.Ctx, intents[0]))
	t.Must(t.Execute(t.Ctx, intents[1:]...))
	for _, r := range t.Await(len(intents)) {
		if early := due[r.Job.ID].Sub(r.Began); early > 0 {
			t.Errorf("a job ran %v early", early)
		}
	}
}

// BackoffIsNeverEarly tests a backoff that no unit of the backend's divides.
func BackoffIsNeverEarly(t *Trial) {
	policy := core.Exponential(700*time.Millisecond, time.Minute)
	var ended time.Time
	t.Serve(func(ctx context.Context, _ string) error {
		job, _ := worker.JobFrom(ctx)
		if job.Attempt > 1 {
			if gap := time.Since(ended); gap < policy.Wait(job.Attempt-1) {
				t.Errorf("attempt %d after %v", job.Attempt, gap)
			}
		}
		ended = time.Now()
		return ErrDeclined
	})
	t.Want("accepted", t.Intent("", core.ID("x"), core.MaxAttempts(3), core.Backoff(policy)))
	for i, r := range t.Await(3) {
		if r.Job.Attempt != i+1 || r.Job.MaxAttempts != 3 {
			t.Errorf("run %d is attempt %d of %d", i+1, r.Job.Attempt, r.Job.MaxAttempts)
		}
	}
	t.AwaitDead("x")
}

// TimeoutsAreExact tests time-outs below and at a second, and none.
func TimeoutsAreExact(t *Trial) {
	limited := make(chan error, 2)
	t.Serve(func(ctx context.Context, arg string) error {
		if arg == "limited" {
			<-ctx.Done()
			limited <- context.Cause(ctx)
		}
		return nil
	})
	t.Want("accepted", t.Intent("unlimited"))
	if limit := t.Await(1)[0].Limit; !limit.IsZero() {
		t.Errorf("a job without time-out has until %v", limit)
	}
	for n, d := range []time.Duration{50 * time.Millisecond, time.Second} {
		t.Want("accepted", t.Intent("limited", core.Timeout(d), core.MaxAttempts(1)))
		if err := Receive(t, limited); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("cause %v", err)
		}
		// The run is noted a moment after its limit has begun.
		if r := t.Await(n + 2)[n+1]; r.Limit.Sub(r.Began) > d {
			t.Errorf("a time-out of %v became %v", d, r.Limit.Sub(r.Began))
		}
	}
}

// DeadlinesAreKept tests deadlines with as many jobs in the way as there are slots.
func DeadlinesAreKept(t *Trial, slots int) {
	open := make(chan struct{})
	t.Serve(func(_ context.Context, arg string) error {
		if arg == "gate" {
			<-open
		}
		return ErrDeclined
	})
	for range slots {
		t.Want("accepted", t.Intent("gate", core.MaxAttempts(1)))
	}
	t.Await(slots)
	end := time.Now().Add(300 * time.Millisecond)
	t.Want("accepted", t.Intent("late", core.Deadline(end), core.ID("late")))
	<-time.After(time.Until(end))
	close(open)
	t.AwaitDead("late")
	// A job that could only be retried after its deadline is not.
	t.Want("accepted", t.Intent("retried", core.Deadline(time.Now().Add(time.Minute)), core.ID("retried"), core.Backoff(core.Fixed(time.Hour))))
	t.AwaitDead("retried")
	if runs := t.Await(slots + 1); len(runs) != slots+1 || runs[slots].Arg != "retried" || runs[slots].Limit.IsZero() {
		t.Errorf("runs %+v", runs)
	}
}

// PanicsAreFailures tests the ways in which a handler can end badly.
func PanicsAreFailures(t *Trial) {
	t.Serve(func(ctx context.Context, arg string) error {
		if job, _ := worker.JobFrom(ctx); job.Attempt == 1 {
			switch arg {
			case "panic":
				panic("kaboom")
			case "goexit":
				runtime.Goexit()
			case "nilpointer":
				return (*brokenError)(nil)
			}
		}
		return nil
	})
	for _, arg := range []string{"panic", "goexit", "nilpointer"} {
		t.Want("accepted", t.Intent(arg, core.ID(arg), core.MaxAttempts(2), core.Backoff(core.Fixed(time.Millisecond))))
		t.AwaitDone(arg)
	}
	if n := len(t.Await(6)); n != 6 {
		t.Errorf("%d runs, want 6", n)
	}
}

// brokenError panics when asked for its text on a nil pointer.
type brokenError struct{ text string }

func (e *brokenError) Error() string { return e.text }

// UniqueAndID tests a job that has both: a refusal by one must not leave the other behind.
func UniqueAndID(t *Trial) {
	t.Want("accepted", t.Intent("a", core.ID("x"), core.Unique("k1")))
	t.Want("duplicate", t.Intent("b", core.ID("x"), core.Unique("k2")))
	t.Want("duplicate", t.Intent("c", core.ID("y"), core.Unique("k1")))
	t.Want("accepted", t.Intent("d", core.Unique("k2"))) // no lock has leaked
	t.Want("accepted", t.Intent("e", core.ID("y")))      // and no ID
	same := t.Intent("f", core.Unique("k3"))
	t.Want("accepted", same)
	t.Want("duplicate", same)
	t.Want("duplicate", t.Intent("g", core.ID("x")))
}

// UniqueRace tests that of many calls at a time one gets the key.
func UniqueRace(t *Trial) {
	var accepted atomic.Int64
	var wg sync.WaitGroup
	for n := range 50 {
		wg.Go(func() {
			intents := []core.Intent{t.Intent("", core.Unique("k"))}
			if n%2 == 0 {
				intents = append(intents, t.Intent("", core.Unique("k")))
			}
			got, err := t.States(intents...)
			if strings.Trim(strings.NewReplacer("accepted", "", "duplicate", "", ",", "").Replace(got), " ") != "" {
				t.Errorf("%s: %v", got, err)
			}
			accepted.Add(int64(strings.Count(got, "accepted")))
		})
	}
	wg.Wait()
	if accepted.Load() != 1 {
		t.Errorf("%d accepted", accepted.Load())
	}
}

// MarksCountAcrossLanes tests that an ID and a unique key count in every lane of a queue. It stores four jobs.
func MarksCountAcrossLanes(t *Trial) {
	for _, in := range []core.Intent{t.Intent("a", core.Priority(9)), t.Intent("b"), t.Intent("c", core.Priority(1), core.ID("x"))} {
		t.Want("accepted", in)
		for _, p := range []int{1, 5, 10} {
			again, err := in.With(core.Priority(p))
			t.Must(err)
			if in.ChosenID() {
				t.Want("duplicate", again)
				t.Want("duplicate, duplicate", again, in)
			} else {
				t.Want("accepted", again)
				t.Want("accepted, accepted", again, in)
			}
		}
	}
	t.Want("accepted", t.Intent("d", core.Unique("k"), core.Priority(10)))
	t.Want("duplicate, duplicate, duplicate", t.Intent("d", core.Unique("k"), core.Priority(1)),
		t.Intent("d", core.Unique("k")), t.Intent("d", core.Unique("k"), core.Priority(10)))
}
