package worker_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

func TestObserversSeeEveryRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for name, c := range map[string]struct {
			err    error
			change func(*worker.Delivery)
			want   worker.Action
		}{
			"done": {nil, nil, worker.Done}, "retry": {io.EOF, nil, worker.Retry}, "snoozed": {worker.Snooze(time.Hour), nil, worker.Snoozed},
			"dead":        {worker.Permanent(io.EOF), nil, worker.Dead},
			"died":        {io.EOF, func(d *worker.Delivery) { d.Attempt, d.MaxAttempts = 2, 2 }, worker.Dead},
			"parked":      {nil, func(d *worker.Delivery) { d.Task = "test.unknown" }, worker.Parked},
			"envelope":    {nil, func(d *worker.Delivery) { d.EnvelopeErr = io.EOF }, worker.Dead},
			"deadline":    {nil, func(d *worker.Delivery) { d.Deadline = time.Now() }, worker.Dead},
			"interrupted": {errStop, nil, worker.Interrupted},
		} {
			var first, second []worker.Run
			jobCtx, stop := context.WithCancel(context.WithValue(ctx, key{}, name))
			fn := func(ctx context.Context) error {
				time.Sleep(time.Minute)
				if c.err == errStop {
					stop()
				}
				return c.err
			}
			see := func(runs *[]worker.Run) worker.Observer {
				return func(ctx context.Context, run worker.Run) {
					if ctx.Value(key{}) != name {
						t.Errorf("%s: the worker's context is lost", name)
					}
					if _, ok := worker.JobFrom(ctx); ok {
						t.Errorf("%s: the observer has the handler's context", name)
					}
					*runs = append(*runs, run)
				}
			}
			d := work(c.change)
			v := handler(t, fn, see(&first), see(&second)).Perform(jobCtx, d)
			stop()
			if v.Action != c.want || len(first) != 1 || len(second) != 1 {
				t.Errorf("%s: got %v, observed %d and %d times", name, v, len(first), len(second))
				continue
			}
			took := time.Minute
			switch name {
			case "parked", "envelope", "deadline": // the handler is not called
				took = 0
			}
			run := second[0]
			if run.Verdict != v || run.Took != took || run.Delivery.ID != "id" || run.Delivery.Task != d.Task || run.Delivery.Attempt != d.Attempt || run.Verdict != first[0].Verdict {
				t.Errorf("%s: got %v %v after %v, want %v after %v", name, run.Delivery, run.Verdict, run.Took, v, took)
			}
		}
	})
}

type key struct{}

var errStop = errors.New("stop")

func TestReportCallsTheObservers(t *testing.T) {
	t.Parallel()
	var got []worker.Run
	reg := must(worker.NewRegistry(worker.Observer(func(_ context.Context, run worker.Run) { got = append(got, run) })))(t)
	want := worker.Run{Delivery: work(nil), Verdict: worker.Verdict{Action: worker.Dead, Err: io.EOF}, Took: time.Second}
	reg.Report(t.Context(), want)
	if len(got) != 1 || got[0].Verdict != want.Verdict || got[0].Delivery.ID != "id" || got[0].Took != time.Second {
		t.Errorf("got %v", got)
	}
}

// It changes slog's default logger, and so is not parallel.
func TestAPanickingObserverChangesNothing(t *testing.T) {
	var log bytes.Buffer
	was := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(was)

	called := 0
	count := worker.Observer(func(context.Context, worker.Run) { called++ })
	for _, value := range []any{"kaboom", io.EOF, nil, (*hostile)(nil)} {
		log.Reset()
		called = 0
		boom := worker.Observer(func(context.Context, worker.Run) { panic(value) })
		for _, err := range []error{nil, io.EOF} {
			v := handler(t, func(context.Context) error { return err }, count, boom, count, boom, count).Perform(t.Context(), work(nil))
			if (v.Action == worker.Done) != (err == nil) || v.Err != err {
				t.Errorf("%v: got %v", value, v)
			}
		}
		if called != 6 || strings.Count(log.String(), "an Observer panicked") != 4 || !strings.Contains(log.String(), "observer_test.go") {
			t.Errorf("%v: %d calls, logged %s", value, called, log.String())
		}
		if value == "kaboom" && !strings.Contains(log.String(), "kaboom") {
			t.Errorf("logged %s", log.String())
		}
	}
}

func TestExitedRunsAreReportedByTheWorker(t *testing.T) {
	t.Parallel()
	var got []worker.Run
	reg := handler(t, nil, worker.Observer(func(_ context.Context, run worker.Run) { got = append(got, run) }))
	d := work(func(d *worker.Delivery) { d.Backoff = core.Fixed(time.Minute) })
	v := d.Exited()
	reg.Report(t.Context(), worker.Run{Delivery: d, Verdict: v})
	if len(got) != 1 || got[0].Verdict.Action != worker.Retry || got[0].Verdict.After != time.Minute {
		t.Errorf("got %v", got)
	}
}

func TestObserversKnowWhetherTheTaskHasAHandler(t *testing.T) {
	t.Parallel()
	var known []bool
	see := worker.Observer(func(_ context.Context, run worker.Run) { known = append(known, run.Known) })
	reg := handler(t, func(context.Context) error { return nil }, see)
	reg.Perform(t.Context(), work(nil))
	reg.Perform(t.Context(), work(func(d *worker.Delivery) { d.Task = "test.unknown" }))
	// An adapter need not know, and cannot claim it.
	reg.Report(t.Context(), worker.Run{Delivery: work(nil)})
	reg.Report(t.Context(), worker.Run{Delivery: worker.Delivery{Task: "test.unknown"}, Known: true})
	// A task of core.NewTask is known where its intent was made.
	own := must(core.NewTask("test.own", func(context.Context, string) error { return nil }).Intent(""))(t)
	reg.Perform(t.Context(), worker.FirstDelivery(&own))
	if want := []bool{true, false, true, false, true}; !slices.Equal(known, want) {
		t.Errorf("got %v, want %v", known, want)
	}
}
