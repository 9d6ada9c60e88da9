//go:build realservers

package nats_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/core"
	natsexec "github.com/goairlock/airlock/executors/nats"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/worker"
)

// oldVersion knows no schedules, no atomic batches, and no last sequence over several subjects. It ignores their headers and
// settings without a word.
const oldVersion = "v2.10.29"

func oldServer(t *testing.T, opts *options) *testEnv {
	t.Helper()
	return bare(t, servers.NATS(t, servers.NATSOptions{Version: oldVersion}).URL(), opts)
}

func TestAnOldServerGetsNoStream(t *testing.T) {
	t.Parallel()
	w := oldServer(t, nil)
	if err := natsexec.EnsureStream(w.ctx, w.js, streamName, nil); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("error %v", err)
	}
	names := w.js.StreamNames(w.ctx)
	for name := range names.Name() {
		t.Errorf("stream %s was created", name)
	}
	w.must(names.Err())
}

// On a stream that somebody made for it, an old server works what it can, and the rest is refused.
func TestAnOldServerIsUsedForWhatItCan(t *testing.T) {
	t.Parallel()
	w := oldServer(t, &options{Lanes: true, AckTimeout: 30 * time.Second, Backoff: core.Fixed(10 * time.Millisecond), ParkFor: 100 * time.Millisecond})
	_, err := w.js.CreateStream(w.ctx, jetstream.StreamConfig{
		Name: streamName, Retention: jetstream.WorkQueuePolicy, Duplicates: time.Minute,
		Subjects: []string{"JOBS.job.>", "JOBS.high.>", "JOBS.low.>", "JOBS.at.>", "JOBS.dead.>"},
	})
	w.must(err)
	w.open()
	if _, err := natsexec.New(w.ctx, w.js, streamName, &natsexec.Options{Atomic: true}); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("atomic batches: %v", err)
	}
	for name, opts := range map[string][]core.Option{
		"a unique key":           {core.Unique("k")},
		"a unique key in a lane": {core.Unique("k"), core.Priority(9)},
		"a delay":                {core.Delay(time.Hour)},
	} {
		in := w.intent("refused", opts...)
		for what, err := range map[string]error{"Check": core.Executor(w.exec.Execute).Check(w.ctx, in), "Execute": w.exec.Execute(w.ctx, in)} {
			if !errors.Is(err, core.ErrUnsupported) {
				t.Errorf("%s: %s: %v", name, what, err)
			}
		}
	}
	w.wantStored("JOBS.>", 0)
	w.must(w.exec.CheckServer(w.ctx))

	chosen := w.intent("done", core.ID("once"))
	w.send(chosen, w.intent("done", core.Priority(9)), w.intent("done", core.Priority(1)), w.intent("fails once"), w.intent("snoozes once"), w.intent("dies"))
	w.wantStates(w.states(chosen), core.Duplicate)
	ran := make(chan string, 100)
	first := make(chan string, 100)
	w.work(func(ctx context.Context, arg string) error {
		job, _ := worker.JobFrom(ctx)
		ran <- arg
		switch {
		case arg == "dies":
			return worker.Permanent(errors.New("never"))
		case arg == "fails once" && job.Attempt == 1:
			return errors.New("again")
		case arg == "snoozes once" && len(first) == 0:
			first <- job.ID
			return worker.Snooze(50 * time.Millisecond)
		}
		return nil
	})
	runs := map[string]int{}
	for range 8 {
		runs[next(w, ran)]++
	}
	if runs["done"] != 3 || runs["fails once"] != 2 || runs["snoozes once"] != 2 || runs["dies"] != 1 {
		t.Errorf("runs %v", runs)
	}
	w.wantStored("JOBS.dead.>", 1)
	w.wantStored("JOBS.>", 1)
}
