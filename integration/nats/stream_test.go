package nats_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/core"
	natsexec "github.com/goairlock/airlock/executors/nats"
)

func TestEnsureStreamMakesWhatItAccepts(t *testing.T) {
	t.Parallel()
	w := bare(t, startNATS(t), nil)
	opts := &natsexec.StreamOptions{Window: time.Minute, Storage: jetstream.MemoryStorage, Replicas: 1}
	for range 3 {
		w.must(natsexec.EnsureStream(w.ctx, w.js, streamName, opts))
	}
	w.open()
	window := w.exec.Capabilities().IDWindow
	if window.Kind != core.WindowFixed || window.For != time.Minute || window.Survives != core.SurvivalReconnect {
		t.Errorf("window %+v", window)
	}
}

func TestEnsureStreamNamesWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	w := bare(t, startNATS(t), nil)
	good := func() jetstream.StreamConfig {
		return jetstream.StreamConfig{
			Name: streamName, Subjects: []string{"JOBS.>"}, Retention: jetstream.WorkQueuePolicy,
			AllowMsgSchedules: true, AllowAtomicPublish: true, Duplicates: time.Minute,
		}
	}
	for name, tc := range map[string]struct {
		change func(*jetstream.StreamConfig)
		opts   natsexec.StreamOptions
		want   []string
		loses  bool // New refuses it too
	}{
		"nothing": {},
		"limits": {change: func(c *jetstream.StreamConfig) {
			c.MaxMsgs, c.MaxBytes, c.MaxAge, c.MaxMsgsPerSubject = 10, 1<<20, time.Hour, 3
		}, want: []string{"max_msgs", "max_bytes", "max_age", "max_msgs_per_subject"}, loses: true},
		"retention":    {change: func(c *jetstream.StreamConfig) { c.Retention = jetstream.LimitsPolicy }, want: []string{"retention"}, loses: true},
		"interest":     {change: func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy }, want: []string{"retention"}, loses: true},
		"subjects":     {change: func(c *jetstream.StreamConfig) { c.Subjects = []string{"JOBS.job.>", "JOBS.at.*.>"} }, want: []string{"JOBS.dead.>", "JOBS.at.>"}, loses: true},
		"no acks":      {change: func(c *jetstream.StreamConfig) { c.NoAck, c.AllowAtomicPublish = true, false }, want: []string{"no_ack"}, loses: true},
		"no schedules": {change: func(c *jetstream.StreamConfig) { c.AllowMsgSchedules = false }, want: []string{"allow_msg_schedules"}},
		"no batches":   {change: func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false }, want: []string{"allow_atomic"}},
		"a source": {change: func(c *jetstream.StreamConfig) {
			c.Sources, c.AllowMsgSchedules = []*jetstream.StreamSource{{Name: "ELSE"}}, false
		}, want: []string{"sources"}, loses: true},
		"options": {opts: natsexec.StreamOptions{Replicas: 3, Window: time.Hour, Storage: jetstream.MemoryStorage},
			want: []string{"1 replicas, want 3", "1m0s, want 1h", "storage"}},
	} {
		cfg := good()
		if tc.change != nil {
			tc.change(&cfg)
		}
		_, err := w.js.CreateStream(w.ctx, cfg)
		w.must(err)
		err = natsexec.EnsureStream(w.ctx, w.js, streamName, &tc.opts)
		if (err == nil) != (len(tc.want) == 0) || err != nil && !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		for _, want := range tc.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v does not name %s", name, err, want)
			}
		}
		if _, err := natsexec.New(w.ctx, w.js, streamName, nil); (err != nil) != tc.loses {
			t.Errorf("%s: New: %v", name, err)
		}
		w.must(w.js.DeleteStream(w.ctx, streamName))
	}
}

func TestNewCreatesNothing(t *testing.T) {
	t.Parallel()
	w := bare(t, startNATS(t), nil)
	if _, err := natsexec.New(w.ctx, w.js, streamName, nil); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("without a stream: %v", err)
	}
	for name, make := range map[string]func() error{
		"no context":   func() error { _, err := natsexec.New(nil, w.js, streamName, nil); return err }, //lint:ignore SA1012 a nil context is the case
		"no JetStream": func() error { _, err := natsexec.New(w.ctx, nil, streamName, nil); return err },
		"no name":      func() error { _, err := natsexec.New(w.ctx, w.js, "", nil); return err },
		"a bad name":   func() error { return natsexec.EnsureStream(w.ctx, w.js, "a.*", nil) },
		"an option":    func() error { _, err := natsexec.New(w.ctx, w.js, "X", &natsexec.Options{AckTimeout: -1}); return err },
	} {
		if err := make(); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.must(natsexec.EnsureStream(w.ctx, w.js, streamName, nil))
	w.open()
	w.send(w.intent("a"))
	stream, err := w.js.Stream(w.ctx, streamName)
	w.must(err)
	info, err := stream.Info(w.ctx)
	w.must(err)
	if info.State.Consumers != 0 {
		t.Errorf("%d consumers", info.State.Consumers)
	}
}
