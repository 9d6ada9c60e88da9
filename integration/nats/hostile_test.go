package nats_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/core"
	natsexec "github.com/goairlock/airlock/executors/nats"
	"github.com/goairlock/airlock/worker"
)

// hostile are messages that no worker can run.
var hostile = map[string]struct {
	subject string
	header  nats.Header
	dead    string // the subject of the dead message
	reason  string
	parked  bool // instead: kept for a worker that knows more
}{
	"a wildcard as its task":        {subject: "JOBS.job.default.*", dead: "~unusable", reason: "no task name"},
	"a wildcard in its task":        {subject: "JOBS.job.default.test.*.work", dead: "~unusable", reason: "no task name"},
	"the other wildcard":            {subject: "JOBS.job.default.test.>", dead: "~unusable", reason: "no task name"},
	"a key alone":                   {subject: "JOBS.job.default.=abc", dead: "~unusable", reason: "no task name"},
	"an own token":                  {subject: "JOBS.job.default.~abc", dead: "~unusable", reason: "no task name"},
	"characters of no task":         {subject: "JOBS.job.default.tes/t$work", dead: "~unusable", reason: "no task name"},
	"a task of one letter":          {subject: "JOBS.job.default.x", dead: "~unusable", reason: "no task name"},
	"a long task":                   {subject: "JOBS.job.default." + strings.Repeat("x", 2000), dead: "~unusable", reason: "no task name"},
	"bytes that are no text":        {subject: "JOBS.job.default.a\xff\xfeb", dead: "~unusable", reason: "no task name"},
	"no task name and no envelope":  {subject: "JOBS.job.default.*", header: nats.Header{"Airlock-Envelope": {"{"}}, dead: "~unusable", reason: "no task name"},
	"an envelope that is cut":       {subject: "JOBS.job.default.test.work", header: nats.Header{"Airlock-Envelope": {"{"}}, dead: "test.work", reason: "envelope"},
	"an envelope of another shape":  {subject: "JOBS.job.default.test.work", header: nats.Header{"Airlock-Envelope": {"[]"}}, dead: "test.work", reason: "envelope"},
	"attempts below zero":           {subject: "JOBS.job.default.test.work", header: nats.Header{"Airlock-Envelope": {`{"v":1,"max_attempts":-1}`}}, dead: "test.work", reason: "max"},
	"a later envelope":              {subject: "JOBS.job.default.test.work", header: nats.Header{"Airlock-Envelope": {`{"v":99}`}}, parked: true},
	"a task that nobody knows":      {subject: "JOBS.job.default.test.stranger", parked: true},
	"its last attempt, and unknown": {subject: "JOBS.job.default.test.stranger", header: nats.Header{"Airlock-Envelope": {`{"v":1,"max_attempts":1}`}}, parked: true},
	"all attempts used up":          {subject: "JOBS.job.default.test.work", header: nats.Header{"Airlock-Attempts": {"25"}}, dead: "test.work", reason: "all 25 attempts are used up"},
	"a syntax error":                {subject: "JOBS.job.default.test.work", header: nats.Header{"Payload": {"{"}}, dead: "test.work", reason: "test.work"},
}

// Of each kind more than the worker has slots, before one good job.
func TestHostileMessagesBlockNobody(t *testing.T) {
	t.Parallel()
	for name, tc := range hostile {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := setup(t, &options{Concurrency: 2, ParkFor: time.Hour})
			const n = 5
			for range n {
				m := plain(tc.subject, `"a"`)
				for k, v := range tc.header {
					m.Header[k] = v
				}
				if m.Header.Get("Payload") != "" {
					m.Data = []byte(m.Header.Get("Payload"))
				}
				_, err := w.js.PublishMsg(w.ctx, m)
				w.must(err)
			}
			ran := make(chan string, 1)
			begin := time.Now()
			w.work(func(_ context.Context, arg string) error { ran <- arg; return nil })
			w.send(w.intent("good"))
			if got := next(w, ran); got != "good" {
				t.Errorf("ran %q", got)
			}
			if took := time.Since(begin); took > 25*time.Second { // less than ack_wait
				t.Errorf("the good job waited for %v", took)
			}
			if tc.parked {
				w.wantStored("JOBS.at.>", n)
				w.wantStored("JOBS.>", n)
				return
			}
			w.wantStored("JOBS.dead.default."+tc.dead, n)
			w.wantStored("JOBS.>", n)
			m := w.message("JOBS.dead.default." + tc.dead)
			if got := m.Header.Get("Airlock-Reason"); !strings.Contains(got, tc.reason) {
				t.Errorf("reason %q, want %q", got, tc.reason)
			}
			if got, want := m.Header.Get("Airlock-Subject"), strings.Map(func(r rune) rune { return r }, tc.subject); got != want && !strings.HasPrefix(want, strings.TrimSuffix(got, "…")) {
				t.Errorf("from %q, want %q", got, want)
			}
		})
	}
}

// The server refuses a copy that is larger than what it was made of.
func TestAMessageAsLargeAsTheServerTakes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		answer error
		opts   options
		runs   int64
		where  string // the one message in the end; none: it is done
	}{
		"permanent": {answer: worker.Permanent(errors.New("never")), runs: 1, where: "JOBS.dead.>"},
		"fails":     {answer: errors.New("again"), opts: options{Backoff: core.Fixed(10 * time.Millisecond)}, runs: 25, where: "JOBS.dead.>"},
		"snooze":    {answer: worker.Snooze(time.Hour), runs: 1, where: "JOBS.job.>"},
		"late":      {answer: errors.New("again"), opts: options{Backoff: core.Fixed(time.Hour)}, runs: 1, where: "JOBS.job.>"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.opts.Concurrency = 1
			w := setup(t, &tc.opts)
			large := plain("JOBS.job.default.test.work", `"`+strings.Repeat("x", int(w.conn.MaxPayload())-2)+`"`)
			large.Header = nil
			_, err := w.js.PublishMsg(w.ctx, large)
			w.must(err)
			var runs atomic.Int64
			ran := make(chan struct{}, 100)
			w.work(func(_ context.Context, arg string) error {
				if len(arg) < 10 {
					return nil
				}
				runs.Add(1)
				ran <- struct{}{}
				return tc.answer
			})
			for range tc.runs {
				next(w, ran)
			}
			w.send(w.intent("small")) // the slot is free
			w.wantStored(tc.where, 1)
			w.wantStored("JOBS.>", 1)
			if got := runs.Load(); got != tc.runs {
				t.Errorf("%d runs, want %d", got, tc.runs)
			}
			if m := w.message(tc.where); len(m.Data) != len(large.Data) {
				t.Errorf("%d bytes are left of %d", len(m.Data), len(large.Data))
			}
		})
	}
}

// A handler that answers Permanent, on a stream that does not take dead jobs any more.
func TestADeadJobThatCannotBeStoredBlocksNobody(t *testing.T) {
	t.Parallel()
	w := setup(t, &options{Concurrency: 1, AckWait: 3 * time.Second})
	logged := w.hear()
	ran := make(chan string, 10)
	w.work(func(_ context.Context, arg string) error {
		if ran <- arg; arg == "bad" {
			return worker.Permanent(errors.New("never"))
		}
		return nil
	})
	w.send(w.intent("first"))
	next(w, ran)
	stream, err := w.js.Stream(w.ctx, streamName)
	w.must(err)
	cfg := stream.CachedInfo().Config
	cfg.Subjects = []string{"JOBS.job.>", "JOBS.at.>"}
	_, err = w.js.UpdateStream(w.ctx, cfg)
	w.must(err)
	_, err = w.js.Publish(w.ctx, "JOBS.job.default.test.work", []byte(`"bad"`))
	w.must(err)
	if got := next(w, ran); got != "bad" {
		t.Errorf("ran %s", got)
	}
	_, err = w.js.Publish(w.ctx, "JOBS.job.default.test.work", []byte(`"good"`))
	w.must(err)
	if got := next(w, ran); got != "good" {
		t.Errorf("ran %s", got)
	}
	logged.await(w, "could not be stored")
	w.wantStored("JOBS.job.>", 1) // and runs again when it can
}

func TestAConsumerThatContradictsTheWorkerIsRefused(t *testing.T) {
	t.Parallel()
	w := setup(t, &options{Concurrency: 20})
	for want, tc := range map[string]struct {
		change func(*jetstream.ConsumerConfig)
		fits   bool
	}{
		"nothing":      {fits: true},
		"description":  {change: func(c *jetstream.ConsumerConfig) { c.Description, c.Metadata = "ours", map[string]string{"a": "b"} }, fits: true},
		"ack_wait 5s":  {change: func(c *jetstream.ConsumerConfig) { c.AckWait = 5 * time.Second }, fits: true},
		"one filter":   {change: func(c *jetstream.ConsumerConfig) { c.FilterSubjects, c.FilterSubject = []string{c.FilterSubject}, "" }, fits: true},
		"max_ack 1000": {change: func(c *jetstream.ConsumerConfig) { c.MaxAckPending, c.MaxWaiting = 1000, 512 }, fits: true},

		"headers_only":   {change: func(c *jetstream.ConsumerConfig) { c.HeadersOnly = true }},
		"max_deliver":    {change: func(c *jetstream.ConsumerConfig) { c.MaxDeliver = 3 }},
		"backoff":        {change: func(c *jetstream.ConsumerConfig) { c.BackOff = []time.Duration{time.Second} }},
		"filter_subject": {change: func(c *jetstream.ConsumerConfig) { c.FilterSubject = "JOBS.job.default.test.>" }},
		"filter_subjects": {change: func(c *jetstream.ConsumerConfig) {
			c.FilterSubjects, c.FilterSubject = []string{"JOBS.job.default.a.>", "JOBS.job.default.b.>"}, ""
		}},
		"ack_wait":           {change: func(c *jetstream.ConsumerConfig) { c.AckWait = 100 * time.Millisecond }},
		"max_ack_pending":    {change: func(c *jetstream.ConsumerConfig) { c.MaxAckPending = 19 }},
		"max_waiting":        {change: func(c *jetstream.ConsumerConfig) { c.MaxWaiting = 5 }},
		"max_batch":          {change: func(c *jetstream.ConsumerConfig) { c.MaxRequestBatch = 5 }},
		"max_expires":        {change: func(c *jetstream.ConsumerConfig) { c.MaxRequestExpires = 10 * time.Millisecond }},
		"max_bytes":          {change: func(c *jetstream.ConsumerConfig) { c.MaxRequestMaxBytes = 100 }},
		"replay_policy":      {change: func(c *jetstream.ConsumerConfig) { c.ReplayPolicy = jetstream.ReplayOriginalPolicy }},
		"inactive_threshold": {change: func(c *jetstream.ConsumerConfig) { c.InactiveThreshold = time.Hour }},
		"mem_storage":        {change: func(c *jetstream.ConsumerConfig) { c.MemoryStorage = true }},
		"priority_policy": {change: func(c *jetstream.ConsumerConfig) {
			c.PriorityPolicy, c.PriorityGroups = jetstream.PriorityPolicyPinned, []string{"A"}
		}},
		"durable_name": {change: func(c *jetstream.ConsumerConfig) { c.Durable, c.InactiveThreshold = "", time.Hour }},
	} {
		cfg := jetstream.ConsumerConfig{Durable: "default", Name: "default", FilterSubject: "JOBS.job.default.>", AckPolicy: jetstream.AckExplicitPolicy}
		if tc.change != nil {
			tc.change(&cfg)
		}
		_, err := w.js.CreateConsumer(w.ctx, streamName, cfg)
		w.must(err)
		err = w.runBriefly()
		if tc.fits && err != nil || !tc.fits && (!errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", want, err)
		}
		w.must(w.js.DeleteConsumer(w.ctx, streamName, "default"))
	}
	_, err := w.js.CreatePushConsumer(w.ctx, streamName, jetstream.ConsumerConfig{
		Durable: "default", FilterSubject: "JOBS.job.default.>", AckPolicy: jetstream.AckExplicitPolicy, DeliverSubject: "elsewhere",
	})
	w.must(err)
	if err := w.runBriefly(); !errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), "deliver_subject") {
		t.Errorf("a consumer that pushes: %v", err)
	}
}

// runBriefly runs a worker until it waits for jobs or refuses to.
func (w *testEnv) runBriefly() error {
	w.Helper()
	reg, err := worker.NewRegistry(worker.Handle(w.task, func(context.Context, string) error { return nil }))
	w.must(err)
	worker, err := natsexec.NewWorker(w.js, streamName, reg, w.opts.work())
	w.must(err)
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx) }()
	for {
		select {
		case err := <-ended:
			return err
		case <-time.After(5 * time.Millisecond):
		}
		if consumer, err := w.js.Consumer(w.ctx, streamName, "default"); err == nil && consumer.CachedInfo().NumWaiting > 0 {
			cancel()
			return <-ended
		}
	}
}
