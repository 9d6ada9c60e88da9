package asynq_test

import (
	"context"
	"slices"
	"time"

	"github.com/hibiken/asynq"

	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
	"github.com/goairlock/airlock/integration/trial"
	"github.com/goairlock/airlock/worker"
)

const century = 100 * 365 * 24 * time.Hour

// whatIsStored looks with asynq's Inspector at what each option has become.
func whatIsStored(w *testEnv) {
	at := time.Now().Add(time.Hour).Truncate(time.Second).Add(time.Millisecond)
	for name, tc := range map[string]struct {
		opts  []core.Option
		queue string
		ok    func(*asynq.TaskInfo) bool
	}{
		"no option": {nil, "default", func(i *asynq.TaskInfo) bool {
			return i.State == asynq.TaskStatePending && i.MaxRetry == 25 && envelopeOf(i) == `{"v":1,"max_attempts":25}` && i.Timeout == century && i.Deadline.IsZero() &&
				len(i.Headers) == 1 && i.Retention == 301*time.Second
		}},
		"queue":             {[]core.Option{core.Queue("mail")}, "mail", func(i *asynq.TaskInfo) bool { return i.Queue == "mail" }},
		"one attempt":       {[]core.Option{core.MaxAttempts(1)}, "default", func(i *asynq.TaskInfo) bool { return i.MaxRetry == 1 && envelopeOf(i) == `{"v":1,"max_attempts":1}` }},
		"all attempts":      {[]core.Option{core.MaxAttempts(1<<31 - 1)}, "default", func(i *asynq.TaskInfo) bool { return i.MaxRetry == 1<<31-1 }},
		"half a second":     {[]core.Option{core.Timeout(time.Second / 2)}, "default", timeoutIs("500ms")},
		"a nanosecond":      {[]core.Option{core.Timeout(1)}, "default", timeoutIs("1ns")},
		"a minute":          {[]core.Option{core.Timeout(time.Minute)}, "default", timeoutIs("1m0s")},
		"the longest limit": {[]core.Option{core.Timeout(century)}, "default", timeoutIs("876000h0m0s")},
		"a millisecond over": {[]core.Option{core.At(at)}, "default", func(i *asynq.TaskInfo) bool {
			return i.State == asynq.TaskStateScheduled && i.NextProcessAt.Sub(at) == 999*time.Millisecond
		}},
		"the past":           {[]core.Option{core.At(time.Now().Add(-time.Hour))}, "default", func(i *asynq.TaskInfo) bool { return i.State == asynq.TaskStatePending }},
		"a header":           {[]core.Option{core.Header("Trace", "t1")}, "default", func(i *asynq.TaskInfo) bool { return len(i.Headers) == 2 && i.Headers["Trace"] == "t1" }},
		"a longer retention": {[]core.Option{asynqexec.Native(asynq.Retention(time.Hour))}, "default", func(i *asynq.TaskInfo) bool { return i.Retention == time.Hour }},
		"half a retention":   {[]core.Option{asynqexec.Native(asynq.Retention(time.Hour + 1))}, "default", func(i *asynq.TaskInfo) bool { return i.Retention == time.Hour+time.Second }},
		"a shorter one":      {[]core.Option{asynqexec.Native(asynq.Retention(time.Second))}, "default", func(i *asynq.TaskInfo) bool { return i.Retention == 301*time.Second }},
		"a group":            {[]core.Option{asynqexec.Native(asynq.Group("g"))}, "default", func(i *asynq.TaskInfo) bool { return i.State == asynq.TaskStateAggregating && i.Group == "g" }},
		"a deadline": {[]core.Option{core.Deadline(at)}, "default", func(i *asynq.TaskInfo) bool {
			// Not asynq's own, which would run the job into its deadline again and again.
			return i.Deadline.IsZero() && len(i.Headers) == 1
		}},
	} {
		for mode, before := range map[string][]core.Intent{"alone": nil, "in a batch": {w.Intent("before")}} {
			in := w.Intent("a", tc.opts...)
			if err := w.exec.Execute(w.Ctx, append(before, in)...); err != nil {
				w.Errorf("%s, %s: %v", name, mode, err)
				continue
			}
			if i := w.info(tc.queue, in.ID); i.Type != "test.work" || string(i.Payload) != `"a"` || !tc.ok(i) {
				w.Errorf("%s, %s: stored as %+v", name, mode, i)
			}
		}
	}
}

func envelopeOf(i *asynq.TaskInfo) string { return i.Headers["Airlock-Envelope"] }

// timeoutIs demands that the envelope has the time limit and asynq none.
func timeoutIs(limit string) func(*asynq.TaskInfo) bool {
	return func(i *asynq.TaskInfo) bool {
		return i.Timeout == century && envelopeOf(i) == `{"v":1,"max_attempts":25,"timeout":"`+limit+`"}`
	}
}

func nativeOptionsReachAsynq(w *testEnv) {
	done := make(chan string, 1)
	w.serveWith(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { return nil }), asynq.Config{
		GroupGracePeriod: time.Second,
		GroupMaxSize:     2,
		GroupAggregator: asynq.GroupAggregatorFunc(func(group string, tasks []*asynq.Task) *asynq.Task {
			select {
			case done <- group + string(min(tasks[0].Payload()[1], tasks[1].Payload()[1])) + string(max(tasks[0].Payload()[1], tasks[1].Payload()[1])):
			default:
			}
			return asynq.NewTask("test.aggregated", nil)
		}),
	})
	group := asynqexec.Native(asynq.Group("g"))
	w.Want("accepted, accepted", w.Intent("a", group), w.Intent("b", group))
	select {
	case got := <-done:
		if got != "gab" {
			w.Errorf("aggregated %s", got)
		}
	case <-w.Ctx.Done():
		w.Fatal("the group was never aggregated")
	}
}

// inspectorSees checks what asynq's tools show of our jobs.
func inspectorSees(w *testEnv) {
	dead := worker.Permanent(trial.ErrDeclined)
	w.serve(func(_ context.Context, arg string) error {
		switch arg {
		case "dead":
			return dead
		case "retry":
			return trial.ErrDeclined
		}
		return nil
	})
	want := map[string]asynq.TaskState{
		"done": asynq.TaskStateCompleted, "dead": asynq.TaskStateArchived,
		"retry": asynq.TaskStateRetry, "later": asynq.TaskStateScheduled,
	}
	intents := map[string]core.Intent{}
	for arg := range want {
		opts := []core.Option{core.Backoff(core.Fixed(time.Hour)), core.ID("job-" + arg)}
		if arg == "later" {
			opts = append(opts, core.Delay(time.Hour))
		}
		intents[arg] = w.Intent(arg, opts...)
		w.Want("accepted", intents[arg])
	}
	for arg, state := range want {
		w.Eventually(arg+" is "+state.String(), func() bool { return w.info("default", "job-"+arg).State == state })
		i := w.info("default", "job-"+arg)
		if i.Type != "test.work" || string(i.Payload) != `"`+arg+`"` || i.Queue != "default" {
			w.Errorf("%s: %+v", arg, i)
		}
		if failed := arg == "dead" || arg == "retry"; failed != (i.LastErr == "declined") {
			w.Errorf("%s: last error %q", arg, i.LastErr)
		}
	}
	w.Must(w.exec.Execute(w.Ctx, w.Intent("waits", core.Queue("mail"))))
	queues, err := w.inspector().Queues()
	w.Must(err)
	slices.Sort(queues)
	if !slices.Equal(queues, []string{"default", "mail"}) {
		w.Errorf("queues %v", queues)
	}
	if got := w.pending("mail"); !slices.Equal(got, []string{"waits"}) {
		w.Errorf("waiting: %v", got)
	}
}
