package nats_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/core"
	natsexec "github.com/goairlock/airlock/executors/nats"
	"github.com/goairlock/airlock/worker"
)

// A server does not answer a message that its sender may not publish.
func TestAUserWhoMayNotPublishIsToldAtOnce(t *testing.T) {
	t.Parallel()
	admin, app := limited(t, &server.Permissions{Publish: &server.SubjectPermission{
		Deny: []string{"JOBS.*.mail.>", "JOBS.*.mail.test.work", "JOBS.dead.>"},
	}})
	for name, tc := range map[string]struct {
		atomic bool
		queues []string
		want   []core.State
	}{
		"one":              {queues: []string{"mail"}, want: []core.State{core.NotSent}},
		"all":              {queues: []string{"mail", "mail"}, want: []core.State{core.NotSent, core.NotSent}},
		"some":             {queues: []string{"", "mail", "other"}, want: []core.State{core.Accepted, core.NotSent, core.Accepted}},
		"an atomic batch":  {atomic: true, queues: []string{"mail", "mail"}, want: []core.State{core.NotSent, core.NotSent}},
		"one of the batch": {atomic: true, queues: []string{"", "mail", ""}, want: []core.State{core.NotSent, core.NotSent, core.NotSent}},
	} {
		t.Run(name, func(t *testing.T) {
			w := setupOn(t, admin, nil, &options{Atomic: tc.atomic, AckTimeout: time.Hour})
			exec, err := natsexec.New(w.ctx, connect(t, app), streamName, w.opts.dispatch())
			w.must(err)
			var intents []core.Intent
			for i, queue := range tc.queues {
				in := w.intent("a", core.Delay(time.Duration(i+1)*time.Hour)) // each with a subject of its own
				if queue != "" {
					in = w.intent("a", core.Queue(queue))
				}
				intents = append(intents, in)
			}
			for range 2 { // the second violation has the same text
				err = exec.Execute(w.ctx, intents...)
				var states []core.State
				for _, o := range core.OutcomesOf(err, intents) {
					states = append(states, o.State)
					if o.State == core.NotSent && !strings.Contains(tc.want[0].String()+o.Err.Error(), "batch") && !errors.Is(o.Err, nats.ErrPermissionViolation) {
						t.Errorf("error %v", o.Err)
					}
				}
				w.wantStates(states, tc.want...)
			}
		})
	}
}

func TestAUserWhoMayNotHearIsTold(t *testing.T) {
	t.Parallel()
	admin, app := limited(t, &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: []string{">"}},
		Subscribe: &server.SubjectPermission{Deny: []string{"deaf.*.*"}, Allow: []string{">"}},
	})
	w := setupOn(t, admin, nil, &options{AckTimeout: time.Hour})
	js := connect(t, app, nats.CustomInboxPrefix("ears"))
	exec, err := natsexec.New(w.ctx, js, streamName, w.opts.dispatch())
	w.must(err)
	w.must(exec.Execute(w.ctx, w.some(2)...))
	js = connect(t, app, nats.CustomInboxPrefix("deaf"))
	ctx, cancel := context.WithTimeout(w.ctx, time.Second)
	defer cancel()
	if _, err = natsexec.New(ctx, js, streamName, w.opts.dispatch()); err == nil {
		t.Error("it hears")
	}
}

func TestAWorkerWithoutPermissionsWaitsForThem(t *testing.T) {
	t.Parallel()
	admin, app := limited(t, &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"$JS.API.CONSUMER.>"}}})
	w := setupOn(t, admin, nil, nil)
	logged := w.hear()
	stop := w.workOn(connect(t, app), w.opts)
	logged.await(w, "not permitted") // and not after the minutes of a time-out
	w.must(stop())
}

func TestAFullAccountIsUnavailable(t *testing.T) {
	t.Parallel()
	s := embedded(t, func(o *server.Options) { o.Users = []*server.User{{Username: "admin", Password: "secret"}} })
	if err := s.GlobalAccount().UpdateJetStreamLimits(map[string]server.JetStreamAccountLimits{
		"": {MaxMemory: -1, MaxStore: 64 << 10, MaxStreams: -1, MaxConsumers: -1},
	}); err != nil {
		t.Fatal(err)
	}
	w := setupOn(t, as(t, s, "admin"), nil, nil)
	big := func() core.Intent { return w.intent(strings.Repeat("x", 10_000)) }
	var full error
	var refused core.Intent
	for full == nil {
		refused = big()
		full = w.exec.Execute(w.ctx, refused)
	}
	var api *jetstream.APIError
	if !errors.As(full, &api) || api.ErrorCode != 10002 {
		t.Fatalf("error %v", full)
	}
	if !errors.Is(full, core.ErrUnavailable) || !errors.Is(full, core.ErrNotSent) {
		t.Errorf("error %v", full)
	}
	batch := []core.Intent{refused, big()}
	for _, o := range core.OutcomesOf(w.exec.Execute(w.ctx, batch...), batch) {
		if o.State != core.NotSent || !errors.Is(o.Err, core.ErrUnavailable) {
			t.Errorf("%v: %v", o.State, o.Err)
		}
	}
	stream, err := w.js.Stream(w.ctx, streamName)
	w.must(err)
	w.must(stream.Purge(w.ctx))
	w.send(refused) // the same intent, a moment later
}

// On a leaf with a stream of the same subjects, both store each job.
func TestTheSameStreamOnAHubAndALeaf(t *testing.T) {
	t.Parallel()
	hub, leaf := hubAndLeaf(t)
	w := bare(t, hub.ClientURL(), &options{AckTimeout: 2 * time.Second})
	w.insist(func(ctx context.Context) error { return natsexec.EnsureStream(ctx, w.js, streamName, nil) })
	onLeaf := connect(t, leaf.ClientURL())
	js, err := jetstream.NewWithDomain(onLeaf.Conn(), "hub")
	w.must(err)
	logged := make(lines, 100)
	w.opts.Logger = slog.New(slog.NewTextHandler(logged, nil))
	w.insist(func(ctx context.Context) (err error) {
		w.exec, err = natsexec.New(ctx, js, streamName, w.opts.dispatch())
		return err
	})
	w.insist(func(ctx context.Context) error { return w.exec.Execute(ctx, w.intent("warm")) })
	w.must(w.exec.CheckServer(w.ctx))
	before := w.stored("JOBS.>")

	// The leaf's stream is created later.
	w.must(natsexec.EnsureStream(w.ctx, onLeaf, streamName, nil))
	sent := before
	for found := false; !found; time.Sleep(100 * time.Millisecond) {
		w.send(w.some(50)...)
		sent += 50
		for len(logged) > 0 && !found {
			found = strings.Contains(<-logged, "a second stream stores the same jobs")
		}
	}
	w.wantStored("JOBS.>", sent)
	w.send(w.intent("one")) // whichever answer comes first
	w.wantStored("JOBS.>", sent+1)
	if _, err := natsexec.New(w.ctx, js, streamName, w.opts.dispatch()); !errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), "stream JOBS of domain leaf stores the same jobs") {
		t.Errorf("New: %v", err)
	}
	if err := w.exec.CheckServer(w.ctx); !errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), "stream JOBS of domain leaf") {
		t.Errorf("CheckServer: %v", err)
	}
	onHub, err := natsexec.New(w.ctx, w.js, streamName, w.opts.dispatch()) // which cannot know of the leaf's
	w.must(err)
	if err := onHub.CheckServer(w.ctx); !errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), "a second stream") {
		t.Errorf("CheckServer on the hub: %v", err)
	}

	// What the leaf alone stores is not accepted.
	hub.Shutdown()
	hub.WaitForShutdown()
	for _, n := range []int{1, 3} {
		intents := w.some(n)
		for _, o := range core.OutcomesOf(w.exec.Execute(w.ctx, intents...), intents) {
			if o.State == core.Accepted || o.Err == nil || !strings.Contains(o.Err.Error(), "acknowledged by stream JOBS of domain leaf, want stream JOBS of domain hub") {
				t.Errorf("%v: %v", o.State, o.Err)
			}
		}
	}
}

func TestCheckServer(t *testing.T) {
	t.Parallel()
	w := setup(t, &options{Lanes: true, Atomic: true})
	w.must(w.exec.CheckServer(w.ctx))
	w.wantStored("JOBS.>", 0)
	stream, err := w.js.Stream(w.ctx, streamName)
	w.must(err)
	cfg := stream.CachedInfo().Config
	cfg.MaxMsgs, cfg.Duplicates, cfg.AllowAtomicPublish, cfg.MaxMsgSize = 1000, time.Second, false, 10_000
	_, err = w.js.UpdateStream(w.ctx, cfg)
	w.must(err)
	err = w.exec.CheckServer(w.ctx)
	for _, want := range []string{"max_msgs", "duplicate window of 1s, was 5m0s", "allow_atomic", "messages of 10000 bytes"} {
		if !errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v has no %s", err, want)
		}
	}
	w.must(w.js.DeleteStream(w.ctx, streamName))
	if err := w.exec.CheckServer(w.ctx); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("without a stream: %v", err)
	}
	for name, e := range map[string]*natsexec.Executor{"nil": nil, "zero": {}} {
		if err := e.CheckServer(w.ctx); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if err := e.Execute(w.ctx, w.intent("a")); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if _, says := core.Executor(e.Execute).Capabilities(); says {
			t.Errorf("%s has capabilities", name)
		}
		_ = e.Capabilities()
	}

	w.must(natsexec.EnsureStream(w.ctx, w.js, streamName, &natsexec.StreamOptions{Storage: jetstream.MemoryStorage}))
	w.open()
	if err := w.exec.CheckServer(w.ctx); err == nil || !strings.Contains(err.Error(), "in memory") {
		t.Errorf("in memory: %v", err)
	}
}

// What a user may not ask passes.
func TestCheckServerWithoutPermissions(t *testing.T) {
	t.Parallel()
	app := &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"JOBS.job.default.airlock.probe"}}}
	admin, limitedURL := limited(t, app)
	w := setupOn(t, admin, nil, &options{AckTimeout: 200 * time.Millisecond})
	exec, err := natsexec.New(w.ctx, connect(t, limitedURL), streamName, w.opts.dispatch())
	w.must(err)
	w.must(exec.CheckServer(w.ctx))
}

func TestNoCredentialIsInAnErrorOrALine(t *testing.T) {
	t.Parallel()
	admin, app := limited(t, &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{">"}}})
	w := bare(t, admin, nil)
	logged := w.hear()
	js := connect(t, app)
	_, err := natsexec.New(w.ctx, js, streamName, nil)
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v", err)
	}
	w.must(natsexec.EnsureStream(w.ctx, w.js, streamName, nil))
	stop := w.workOn(js, w.opts, worker.Handle(w.task, func(context.Context, string) error { return nil }))
	line := next(w, logged)
	for ; !strings.Contains(line, notYet); line = next(w, logged) {
	}
	if strings.Contains(line, "secret") {
		t.Errorf("line %s", line)
	}
	w.must(stop())
}
