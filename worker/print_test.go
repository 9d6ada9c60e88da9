package worker_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// nativeJob is a queue's own job value.
type nativeJob struct{ Args string }

func TestNothingPrintsPayloadHeadersOrNative(t *testing.T) {
	t.Parallel()
	in := must(plain.Intent(canary, core.Header("Authorization", canary), core.Queue("mail")))(t)
	d := worker.FirstDelivery(&in)
	d.Native = nativeJob{canary}
	job := worker.Job{ID: d.ID, Task: d.Task, Headers: d.Headers, Native: d.Native}
	run := worker.Run{Delivery: d, Verdict: worker.Verdict{Action: worker.Done}}
	hidden := []string{
		canary, fmt.Sprintf("%d", []byte(canary))[1:10], fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary), fmt.Sprintf("%# x", canary),
		strings.ReplaceAll(fmt.Sprintf("%#v", []byte(canary)), "[]byte", "")[1:20],
	}
	for what, v := range map[string]any{
		"delivery": d, "job": job, "run": run, "deliveries": []worker.Delivery{d}, "jobs": []worker.Job{job}, "pointers": []any{&d, &job, &run},
		"field": struct{ J worker.Job }{job}, "drain error": &worker.DrainError{Jobs: []worker.Delivery{d, d}},
	} {
		outputs := map[string]string{}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%X", "%q", "%# x", "%o", "%t"} {
			outputs[verb] = fmt.Sprintf(verb, v)
		}
		var text, js bytes.Buffer
		slog.New(slog.NewTextHandler(&text, nil)).Info("m", "v", v)
		slog.New(slog.NewJSONHandler(&js, nil)).Info("m", "v", v)
		outputs["slog text"], outputs["slog JSON"] = text.String(), js.String()
		for how, out := range outputs {
			for _, h := range hidden {
				if strings.Contains(out, h) {
					t.Errorf("%s by %s: %s", what, how, out)
				}
			}
		}
	}
}

func TestDeliveriesAndJobsPrintTheirIdentity(t *testing.T) {
	t.Parallel()
	d := worker.Delivery{ID: "id-1", Task: "test.plain", Queue: "mail", Attempt: 2}
	job := worker.Job{ID: "id-1", Task: "test.plain", Queue: "mail", Attempt: 2}
	for _, got := range []string{d.String(), fmt.Sprintf("%x", d), fmt.Sprintf("%+v", &d), job.String(), fmt.Sprintf("%#v", job)} {
		if got != "test.plain id-1 on mail" {
			t.Errorf("got %q", got)
		}
	}
	if got := fmt.Sprintf("%q", worker.Run{Delivery: d, Verdict: worker.Verdict{Action: worker.Parked}}); got != "test.plain id-1 on mail: parked" {
		t.Errorf("got %q", got)
	}
	d.Queue = ""
	if d.String() != "test.plain id-1" {
		t.Errorf("got %q", d.String())
	}
	var js bytes.Buffer
	slog.New(slog.NewJSONHandler(&js, nil)).Info("m", "d", d, "job", job, "zero", worker.Delivery{})
	var line struct{ D, Job, Zero map[string]any }
	if err := json.Unmarshal(js.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(line) != "{map[attempt:2 id:id-1 task:test.plain] map[attempt:2 id:id-1 queue:mail task:test.plain] map[attempt:1 id: task:]}" {
		t.Errorf("logged %s", js.String())
	}
}

func TestFirstDeliveryHasWhatTheIntentHas(t *testing.T) {
	t.Parallel()
	in := must(plain.Intent("x", core.ID("a"), core.Queue("mail"), core.MaxAttempts(3), core.Backoff(core.Fixed(1)), core.Timeout(2), core.Header("A", "1")))(t)
	d := worker.FirstDelivery(&in)
	if d.ID != "a" || d.Task != "test.plain" || d.Queue != "mail" || string(d.Payload) != `"x"` || d.Headers.Get("A") != "1" || d.Attempt != 1 ||
		d.MaxAttempts != 3 || d.Backoff != core.Fixed(1) || d.Timeout != 2 || !d.Deadline.IsZero() {
		t.Errorf("got %v", d)
	}
}

func TestDrainErrorNamesTheJobs(t *testing.T) {
	t.Parallel()
	job := worker.Delivery{ID: "id-1", Task: "test.plain"}
	for want, jobs := range map[string][]worker.Delivery{
		"airlock: the worker stopped while jobs were still running":                          nil,
		"airlock: the worker stopped while a job was still running: test.plain id-1":         {job},
		"airlock: the worker stopped while 2 jobs were still running, first test.plain id-1": {job, {ID: "id-2", Task: "test.plain"}},
	} {
		if got := (&worker.DrainError{Jobs: jobs}).Error(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
