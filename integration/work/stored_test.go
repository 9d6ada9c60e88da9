package work_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gocraft/work"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	workexec "github.com/goairlock/airlock/executors/work"
	"github.com/goairlock/airlock/integration/trial"
	"github.com/goairlock/airlock/worker"
)

// whatIsStored reads with the library's own types what each option has become.
func whatIsStored(w *testEnv) {
	at := time.Now().Add(time.Hour).Truncate(time.Second).Add(time.Millisecond)
	envelope := func(s stored) adapter.Envelope {
		text, _ := s.Args["airlock"].(string)
		e, err := adapter.DecodeEnvelope([]byte(text))
		w.Must(err)
		return e
	}
	for name, tc := range map[string]struct {
		opts  []core.Option
		queue string
		ok    func(stored) bool
	}{
		"no option": {nil, "", func(s stored) bool {
			return s.place == "waiting" && len(s.Args) == 2 && envelope(s).MaxAttempts == 25 && time.Since(time.Unix(s.EnqueuedAt, 0)) < trial.Patience
		}},
		"queue":         {[]core.Option{core.Queue("mail")}, "mail", func(s stored) bool { return s.place == "waiting" && len(s.Args) == 2 }},
		"default queue": {[]core.Option{core.Queue("default")}, "", func(s stored) bool { return s.place == "waiting" }},
		"attempts":      {[]core.Option{core.MaxAttempts(1 << 30)}, "", func(s stored) bool { return envelope(s).MaxAttempts == 1<<30 }},
		"a nanosecond":  {[]core.Option{core.Timeout(1)}, "", func(s stored) bool { return envelope(s).Timeout == 1 }},
		"a millisecond over": {[]core.Option{core.At(at)}, "", func(s stored) bool {
			return s.place == "scheduled" && time.Unix(s.score, 0).Sub(at) == 999*time.Millisecond
		}},
		"the past":   {[]core.Option{core.At(time.Now().Add(-time.Hour))}, "", func(s stored) bool { return s.place == "waiting" }},
		"a header":   {[]core.Option{core.Header("Trace", "t1")}, "", func(s stored) bool { return envelope(s).Headers.Get("Trace") == "t1" }},
		"a deadline": {[]core.Option{core.Deadline(at)}, "", func(s stored) bool { return envelope(s).Deadline.Equal(at) }},
		"a backoff":  {[]core.Option{core.Backoff(core.Fixed(1))}, "", func(s stored) bool { return envelope(s).Backoff == core.Fixed(1) }},
		"unique":     {[]core.Option{core.Unique("k")}, "", func(s stored) bool { return envelope(s).Unique == "k" && !s.Unique }},
	} {
		for mode, before := range map[string][]core.Intent{"alone": nil, "in a batch": {w.Intent("before")}} {
			in := w.Intent("a", tc.opts...)
			if err := w.exec.Execute(w.Ctx, append(before, in)...); err != nil && !errors.Is(err, core.ErrDuplicate) {
				w.Errorf("%s, %s: %v", name, mode, err)
				continue
			}
			found := false
			for _, s := range w.jobs(workexec.Namespace(w.ns, tc.queue)) {
				if s.ID != in.ID {
					continue
				}
				found = true
				if s.Name != "test.work" || s.Args["airlock_payload"] != `"a"` || s.Fails != 0 || !tc.ok(s) {
					w.Errorf("%s, %s: stored as %+v", name, mode, s)
				}
			}
			if !found && name != "unique" {
				w.Errorf("%s, %s: not stored", name, mode)
			}
		}
	}
}

// hard are arguments that the server's cjson, or float64, does not bring back.
var hard = map[string]any{
	"id": 9007199254740993, "max": uint64(1<<64 - 1), "pi": json.Number("3.14159265358979323846"), "huge": json.Number("1e400"),
	"none": []int{}, "nested": map[string]any{"none": []any{[]any{}, nil}}, "slash": "a/b", "text": "<&>\u2028\x00\U0001f44b",
}

// exactArguments are sent through everything in which the library decodes and encodes them: the schedule and the retries.
func exactArguments(w *testEnv) {
	hardTask := core.DeclareTask[json.RawMessage]("test.hard", core.Backoff(core.Fixed(time.Millisecond)), soon)
	in, err := hardTask.Intent(must(json.Marshal(hard)))
	w.Must(err)
	binary, err := core.DeclareTask[[]byte]("test.binary").Codec(core.Raw).Intent([]byte("\x00\xff/\\"), soon)
	w.Must(err)
	got := make(chan string, 10)
	reg, err := worker.NewRegistry(worker.Handle(hardTask, func(ctx context.Context, payload json.RawMessage) error {
		got <- string(payload)
		if job, _ := worker.JobFrom(ctx); job.Attempt < 3 {
			return trial.ErrDeclined
		}
		return nil
	}), worker.Handle(core.DeclareTask[[]byte]("test.binary").Codec(core.Raw), func(_ context.Context, payload []byte) error {
		if string(payload) != "\x00\xff/\\" {
			w.Errorf("bytes arrive as %q", payload)
		}
		got <- ""
		return nil
	}))
	w.Must(err)
	w.Want("accepted, accepted", in, binary)
	w.serveWith(reg, workexec.WorkerOptions{})
	for attempts := 0; attempts < 3; {
		select {
		case payload := <-got:
			if payload == "" {
				continue
			}
			if attempts++; payload != string(in.Payload()) {
				w.Errorf("attempt %d has %s\nwant %s", attempts, payload, in.Payload())
			}
		case <-w.Ctx.Done():
			w.Fatal("the job did not run three times")
		}
	}
	if !w.real {
		return
	}
	// The library alone does damage arguments. Otherwise this test would prove nothing.
	alone := setup(w.T, w.rdb, w.ns+"-native", workexec.Options{})
	_, err = work.NewEnqueuer(alone.ns, w.rdb).EnqueueIn("test.native", 0, work.Q{"id": 9007199254740993, "none": []int{}})
	w.Must(err)
	native := make(chan string, 1)
	alone.serveNative("test.native", func(job *work.Job) error {
		native <- string(must(json.Marshal(job.Args)))
		return nil
	})
	if args := trial.Receive(w.Trial, native); args != `{"id":9007199254741000,"none":{}}` {
		w.Errorf("Redis no longer damages arguments: %s", args)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// plainArguments are read by handlers that were there before.
func plainArguments(w *testEnv) {
	type order struct {
		UserID int64    `json:"user_id"`
		Note   string   `json:"note"`
		Tags   []string `json:"tags,omitempty"`
	}
	orders := core.DeclareTask[order]("test.order")
	native := make(chan string, 4)
	w.serveNative("test.order", func(job *work.Job) error {
		payload, err := workexec.Payload(job)
		var o order
		native <- fmt.Sprint(job.ArgInt64("user_id"), " ", job.ArgString("note"), " ", job.ArgError(), " ", err, " ", json.Unmarshal(payload, &o), " ", o)
		return nil
	})
	for _, opts := range [][]core.Option{nil, {soon}, {core.Header("H", "v"), soon}} {
		in, err := orders.Intent(order{UserID: 12345678901234, Note: "a/b <é>"}, opts...)
		w.Must(err)
		w.Want("accepted", in)
		if got := trial.Receive(w.Trial, native); got != `12345678901234 a/b <é> <nil> <nil> <nil> {12345678901234 a/b <é> []}` {
			w.Errorf("%v: the native handler has %s", opts, got)
		}
	}
	damaged, err := orders.Intent(order{UserID: 1<<53 + 1})
	w.Must(err)
	if got, err := w.States(w.Intent("next to it"), damaged); got != "not sent, rejected" || !errors.Is(err, core.ErrInvalid) || errors.Is(err, core.ErrNotSent) {
		w.Errorf("%s: %v", got, err)
	}
	if err := w.exec.Execute(w.Ctx, damaged); !errors.Is(err, core.ErrInvalid) || strings.Contains(err.Error(), "9007199254740993") {
		w.Errorf("%v", err)
	}
	w.serve(trial.Succeed) // what is no object travels as ever
	w.Want("accepted", w.Intent("no object", soon))
	if r := w.Await(1)[0]; r.Arg != "no object" {
		w.Errorf("%+v", r)
	}
}

// clientSees is what the library's tools show of our jobs.
func clientSees(w *testEnv) {
	w.serve(func(_ context.Context, arg string) error {
		switch arg {
		case "dead":
			return worker.Permanent(trial.ErrDeclined)
		case "retry":
			return trial.ErrDeclined
		}
		return nil
	})
	ids := map[string]string{"dead": "job-dead", "retry": "job-retry", "scheduled": "job-scheduled"}
	for place, id := range ids {
		opts := []core.Option{core.ID(id), core.Backoff(core.Fixed(time.Hour))}
		if place == "scheduled" {
			opts = append(opts, core.Delay(time.Hour))
		}
		w.Want("accepted", w.Intent(place, opts...))
		w.awaitPlace(id, place)
	}
	client := work.NewClient(w.ns, w.rdb)
	check := func(place string, job *work.Job, at int64) {
		failed := place != "scheduled"
		if job.ID != ids[place] || job.Name != "test.work" || job.Args["airlock_payload"] != `"`+place+`"` || failed != (job.LastErr == "declined") {
			w.Errorf("%s: %+v", place, job)
		}
		if left := time.Until(time.Unix(at, 0)); place != "dead" && (left < 50*time.Minute || left > time.Hour+2*time.Second) {
			w.Errorf("%s: due in %v", place, left)
		}
	}
	scheduled, n, err := client.ScheduledJobs(1)
	w.Must(err)
	check("scheduled", scheduled[0].Job, scheduled[0].RunAt)
	retried, m, err := client.RetryJobs(1)
	w.Must(err)
	check("retry", retried[0].Job, retried[0].RetryAt)
	dead, k, err := client.DeadJobs(1)
	w.Must(err)
	check("dead", dead[0].Job, dead[0].DiedAt)
	if n != 1 || m != 1 || k != 1 {
		w.Errorf("%d scheduled, %d retried, %d dead", n, m, k)
	}
	w.Want("accepted", w.Intent("waits", core.Queue("mail")))
	queues, err := work.NewClient(workexec.Namespace(w.ns, "mail"), w.rdb).Queues()
	w.Must(err)
	if len(queues) != 1 || queues[0].JobName != "test.work" || queues[0].Count != 1 {
		w.Errorf("queues %+v", queues)
	}
	// A person tries the dead job again: it starts anew, with all of its attempts.
	w.Must(client.RetryDeadJob(dead[0].DiedAt, "job-dead"))
	runs := w.Await(3)
	if last := runs[2]; last.Arg != "dead" || last.Job.Attempt != 1 || !slices.ContainsFunc(runs[:2], func(r trial.Run) bool { return r.Arg == "retry" }) {
		w.Errorf("runs %+v", runs)
	}
}
