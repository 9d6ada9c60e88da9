package workexec_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/gocraft/work"
	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/core"
	workexec "github.com/goairlock/airlock/executors/work"
	"github.com/goairlock/airlock/worker"
)

// nowhere is a pool for a Redis that is not there.
func nowhere() *redis.Pool {
	return &redis.Pool{Dial: func() (redis.Conn, error) { return redis.Dial("tcp", "127.0.0.1:1") }}
}

func setup(t *testing.T, opts *workexec.Options) *workexec.Executor {
	t.Helper()
	exec, err := workexec.New(nowhere(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return exec
}

var task = core.DeclareTask[string]("test.work")

func intent(t *testing.T, opts ...core.Option) core.Intent {
	t.Helper()
	in, err := task.Intent("a", opts...)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func registry(t *testing.T) *worker.Registry {
	t.Helper()
	reg, err := worker.NewRegistry(worker.Handle(task, func(context.Context, string) error { return nil }))
	if err != nil {
		t.Fatal(err)
	}
	return reg
}

func pool() *work.WorkerPool { return work.NewWorkerPool(struct{}{}, 1, "work", nowhere()) }

func TestBadInputIsInvalid(t *testing.T) {
	t.Parallel()
	opts := func(o workexec.Options) func() error {
		return func() error { _, err := workexec.New(nowhere(), &o); return err }
	}
	workerOpts := func(o workexec.WorkerOptions) func() error {
		return func() error { _, err := workexec.NewWorker(nowhere(), registry(t), &o); return err }
	}
	register := func(p *work.WorkerPool, reg *worker.Registry, o workexec.WorkerOptions) func() error {
		return func() error { _, err := workexec.Register(p, reg, &o); return err }
	}
	taken := pool().Job("test.work", func(*work.Job) error { return nil })
	lane := pool().Job("test.work!low", func(*work.Job) error { return nil })
	started := pool()
	started.Start()
	t.Cleanup(started.Stop)
	var none context.Context
	var nobody *workexec.Executor
	var idle *workexec.Worker
	names := func(names map[string]string) workexec.Options { return workexec.Options{QueueNames: names} }
	for name, bad := range map[string]func() error{
		"nil pool":                  func() error { _, err := workexec.New(nil, nil); return err },
		"a window of the past":      opts(workexec.Options{IDWindow: -1}),
		"an endless window":         opts(workexec.Options{IDWindow: 1<<63 - 1}),
		"a queue's namespace":       opts(workexec.Options{Namespace: "shop:queue:mail"}),
		"two queues, one namespace": opts(names(map[string]string{"a": "x", "b": "x:"})),
		"a queue and the base":      opts(names(map[string]string{"a": "work"})),
		"an empty namespace":        opts(names(map[string]string{"a": ""})),
		"an empty queue":            opts(names(map[string]string{"": "x"})),
		"a queue of no such name":   opts(names(map[string]string{"Critical": "x"})),
		"another queue's namespace": opts(names(map[string]string{"a": "work:queue:b"})),
		"nil context":               func() error { return setup(t, nil).Execute(none, intent(t)) },
		"zero intent":               func() error { return setup(t, nil).Execute(t.Context(), core.Intent{}) },
		"a nil executor":            func() error { return nobody.Execute(t.Context(), intent(t)) },
		"a zero executor":           func() error { return new(workexec.Executor).Execute(t.Context(), intent(t)) },
		"a question to a zero one": func() error {
			return core.Executor(new(workexec.Executor).Execute).Check(t.Context(), intent(t))
		},
		"CheckServer without context":  func() error { return setup(t, nil).CheckServer(none) },
		"CheckServer of nobody":        func() error { return nobody.CheckServer(t.Context()) },
		"worker without pool":          func() error { _, err := workexec.NewWorker(nil, registry(t), nil); return err },
		"worker without registry":      func() error { _, err := workexec.NewWorker(nowhere(), nil, nil); return err },
		"less than no concurrency":     workerOpts(workexec.WorkerOptions{Concurrency: -1}),
		"parked for less than nothing": workerOpts(workexec.WorkerOptions{ParkFor: -1}),
		"a bad queue to work":          workerOpts(workexec.WorkerOptions{Queues: []string{"Mail"}}),
		"an empty queue to work":       workerOpts(workexec.WorkerOptions{Queues: []string{""}}),
		"worker with a bad namespace":  workerOpts(workexec.WorkerOptions{Namespace: "a:queue:b"}),
		"worker with bad names":        workerOpts(workexec.WorkerOptions{QueueNames: map[string]string{"a": "work"}}),
		"run of nobody":                func() error { return idle.Run(t.Context()) },
		"run of a zero worker":         func() error { return new(workexec.Worker).Run(t.Context()) },
		"run without context": func() error {
			w, err := workexec.NewWorker(nowhere(), registry(t), nil)
			if err != nil {
				t.Fatal(err)
			}
			return w.Run(none)
		},
		"register with nil pool":    register(nil, registry(t), workexec.WorkerOptions{}),
		"register without registry": register(pool(), nil, workexec.WorkerOptions{}),
		"register a started pool":   register(started, registry(t), workexec.WorkerOptions{}),
		"a task that is taken":      register(taken, registry(t), workexec.WorkerOptions{}),
		"a lane that is taken":      register(lane, registry(t), workexec.WorkerOptions{Lanes: true}),
		"register with concurrency": register(pool(), registry(t), workexec.WorkerOptions{Concurrency: 1}),
		"register with queues":      register(pool(), registry(t), workexec.WorkerOptions{Queues: []string{"a"}}),
		"register with bad names":   register(pool(), registry(t), workexec.WorkerOptions{QueueNames: map[string]string{"a": ""}}),
		"payload of nil":            func() error { _, err := workexec.Payload(nil); return err },
		"payload of bad base64": func() error {
			_, err := workexec.Payload(&work.Job{Args: work.Q{"airlock_base64": "!"}})
			return err
		},
	} {
		if err := bad(); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := workexec.Register(lane, registry(t), nil); err != nil {
		t.Errorf("a lane that nobody wants: %v", err)
	}
	if err := setup(t, nil).Execute(t.Context()); err != nil {
		t.Errorf("no intents: %v", err)
	}
}

func TestAWorkerRunsOnce(t *testing.T) {
	t.Parallel()
	w, err := workexec.NewWorker(nowhere(), registry(t), &workexec.WorkerOptions{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Run(ctx); err != nil {
		t.Errorf("without Redis and without time: %v", err)
	}
	if err := w.Run(ctx); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("again: %v", err)
	}
}

func TestCapabilitiesFollowTheOptions(t *testing.T) {
	t.Parallel()
	caps := setup(t, nil).Capabilities()
	if w := caps.IDWindow; w.Kind != core.WindowFixed || w.For != 5*time.Minute {
		t.Errorf("window %+v", w)
	}
	if w := setup(t, &workexec.Options{IDWindow: 1}).Capabilities().IDWindow; w.For != time.Millisecond {
		t.Errorf("window %+v", w)
	}
	if err := caps.Check(intent(t, core.Priority(1))); !errors.Is(err, core.ErrUnsupported) {
		t.Errorf("priority without lanes: %v", err)
	}
	lanes := setup(t, &workexec.Options{Lanes: true}).Capabilities()
	if lanes.Check(intent(t, core.Priority(1))) != nil || lanes.PriorityLevels != 3 || lanes.Ranking != core.RankingWeighted {
		t.Errorf("lanes: %+v", lanes)
	}
	for _, option := range core.PortableOptions() {
		if claim := lanes.Options[option]; claim.Support == core.SupportRefused {
			t.Errorf("%s is refused", option)
		}
	}
	if err := caps.Check(intent(t, core.NativeOption("work", 1))); !errors.Is(err, core.ErrUnsupported) {
		t.Errorf("a native option: %v", err)
	}
	damaged, err := core.DeclareTask[map[string]int]("test.plain").Intent(map[string]int{"id": 1<<53 + 1})
	if err != nil {
		t.Fatal(err)
	}
	plain := setup(t, &workexec.Options{PlainArgs: true}).Capabilities()
	if caps.Check(damaged) != nil || !errors.Is(plain.Check(damaged), core.ErrInvalid) {
		t.Errorf("2^53+1: %v, plain %v", caps.Check(damaged), plain.Check(damaged))
	}
}

func TestQuestionsAreAnsweredWithoutRedis(t *testing.T) {
	t.Parallel()
	e := setup(t, nil)
	exec := core.Executor(e.Execute)
	caps, ok := exec.Capabilities()
	if !ok || caps.Executor != "work" || !caps.IDWindow.PerQueue || caps.DefaultAttempts != core.DefaultMaxAttempts {
		t.Errorf("%v, %+v", ok, caps)
	}
	if err := exec.Check(t.Context(), intent(t, core.Priority(1))); !errors.Is(err, core.ErrUnsupported) {
		t.Errorf("priority without lanes: %v", err)
	}
	own := e.Capabilities()
	delete(own.Options, core.OptionQueue)
	if again := e.Capabilities(); again.Options[core.OptionQueue].Support != core.SupportNative {
		t.Error("a caller has changed the capabilities")
	}
}

func TestQueuesHaveNamespacesOfTheirOwn(t *testing.T) {
	t.Parallel()
	for _, tc := range [][3]string{
		{"shop", "", "shop"}, {"shop", "default", "shop"}, {"shop", "mail", "shop:queue:mail"},
		{"shop:", "jobs", "shop:queue:jobs"}, {"shop:", "", "shop:"}, {"", "mail", ":queue:mail"},
	} {
		if got := workexec.Namespace(tc[0], tc[1]); got != tc[2] {
			t.Errorf("Namespace(%q, %q) is %q, want %q", tc[0], tc[1], got, tc[2])
		}
	}
}
