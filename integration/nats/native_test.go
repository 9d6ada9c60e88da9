package nats_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

func plain(subject, payload string) *nats.Msg {
	return &nats.Msg{Subject: subject, Data: []byte(payload), Header: nats.Header{}}
}

func TestAPlainPublisherFeedsOurWorkers(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	type run struct {
		job worker.Job
		arg string
	}
	runs := make(chan run, 2)
	n := 0
	w.work(func(ctx context.Context, arg string) error {
		job, _ := worker.JobFrom(ctx)
		runs <- run{job, arg}
		if n++; n == 1 {
			return worker.Snooze(time.Millisecond) // the copy keeps its identity
		}
		return nil
	})
	m := plain("JOBS.job.default.test.work", `"hello"`)
	m.Header.Set("Tenant", "blue")
	_, err := w.js.PublishMsg(w.ctx, m)
	w.must(err)
	first, again := next(w, runs), next(w, runs)
	for _, r := range []run{first, again} {
		if r.arg != "hello" || r.job.Task != "test.work" || r.job.Queue != "default" || r.job.Attempt != 1 || r.job.Headers.Get("Tenant") != "blue" {
			t.Errorf("ran %+v", r)
		}
	}
	if first.job.ID == "" || first.job.ID != again.job.ID {
		t.Errorf("IDs %q and %q", first.job.ID, again.job.ID)
	}
	_, err = w.js.Publish(w.ctx, "JOBS.job.default.test.work", []byte(`"with an ID"`), jetstream.WithMsgID("mine"))
	w.must(err)
	if r := next(w, runs); r.job.ID != "mine" {
		t.Errorf("ID %q", r.job.ID)
	}
	w.wantStored("JOBS.>", 0)
}

func TestAPlainConsumerReadsOurJobs(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	consumer, err := w.js.CreateConsumer(w.ctx, streamName, jetstream.ConsumerConfig{
		Durable: "plain", FilterSubject: "JOBS.job.mail.>", AckPolicy: jetstream.AckExplicitPolicy,
	})
	w.must(err)
	in := w.intent("hello", core.Queue("mail"), core.Header("Tenant", "blue"), core.MaxAttempts(3))
	later := w.intent("later", core.Queue("mail"), core.Delay(200*time.Millisecond))
	w.send(in, later)
	for _, want := range []string{"hello", "later"} {
		m, err := consumer.Next(jetstream.FetchMaxWait(patience))
		w.must(err)
		if string(m.Data()) != `"`+want+`"` || m.Subject() != "JOBS.job.mail.test.work" {
			t.Errorf("%s: %s", m.Subject(), m.Data())
		}
		if want == "hello" && (m.Headers().Get("Nats-Msg-Id") != in.ID || m.Headers().Get("Tenant") != "blue") {
			t.Errorf("headers %v", m.Headers())
		}
		w.must(m.DoubleAck(w.ctx))
	}
	w.wantStored("JOBS.>", 0)
}
