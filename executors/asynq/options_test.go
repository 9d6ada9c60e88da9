package asynqexec_test

import (
	"context"
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
	"github.com/goairlock/airlock/worker"
)

func TestQueueNames(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		names map[string]string
		bad   bool
	}{
		"none":                       {nil, false},
		"upper case and dots":        {map[string]string{"critical": "Critical", "user_events": "user.events"}, false},
		"the default queue":          {map[string]string{"default": "tasks"}, false},
		"two queues exchanged":       {map[string]string{"a": "b", "b": "a"}, false},
		"two names for one queue":    {map[string]string{"a": "X", "b": "X"}, true},
		"no portable name":           {map[string]string{"A": "a"}, true},
		"an empty portable name":     {map[string]string{"": "a"}, true},
		"an empty native name":       {map[string]string{"a": ""}, true},
		"a blank native name":        {map[string]string{"a": " \t"}, true},
		"a native name with a brace": {map[string]string{"a": "a}high"}, true},
		"a native name with a NUL":   {map[string]string{"a": "a\x00"}, true},
		"a native name not in UTF-8": {map[string]string{"a": "a\xff"}, true},
	} {
		_, err := asynqexec.New(client(t), &asynqexec.Options{QueueNames: tc.names})
		if errors.Is(err, core.ErrInvalid) != tc.bad || (err != nil) != tc.bad {
			t.Errorf("%s: New: %v", name, err)
		}
		_, err = asynqexec.NewWorker(client(t), registry(t), &asynqexec.WorkerOptions{QueueNames: tc.names})
		if errors.Is(err, core.ErrInvalid) != tc.bad || (err != nil) != tc.bad {
			t.Errorf("%s: NewWorker: %v", name, err)
		}
	}
}

func TestAQueueWhoseNativeNameBelongsToAnotherIsRefused(t *testing.T) {
	t.Parallel()
	exec := setup(t, &asynqexec.Options{QueueNames: map[string]string{"default": "tasks", "a": "b", "b": "a"}})
	for queue, refused := range map[string]bool{"tasks": true, "a": false, "b": false, "c": false} {
		if err := core.Executor(exec.Execute).Check(t.Context(), intent(t, core.Queue(queue))); errors.Is(err, core.ErrUnsupported) != refused {
			t.Errorf("%s: %v", queue, err)
		}
	}
}

func client(t *testing.T) redis.UniversalClient {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

func registry(t *testing.T) *worker.Registry {
	t.Helper()
	task := core.DeclareTask[string]("test.work", core.Queue("mail"))
	reg, err := worker.NewRegistry(worker.Handle(task, func(context.Context, string) error { return nil }))
	if err != nil {
		t.Fatal(err)
	}
	return reg
}

func TestBadInputForAWorkerIsInvalid(t *testing.T) {
	t.Parallel()
	rdb, reg := client(t), registry(t)
	for name, opts := range map[string]*asynqexec.WorkerOptions{
		"Config.Queues":             {Config: asynq.Config{Queues: map[string]int{"mail": 1}}},
		"Config.Concurrency":        {Config: asynq.Config{Concurrency: 1}},
		"Config.ShutdownTimeout":    {Config: asynq.Config{ShutdownTimeout: 1}},
		"Config.Logger":             {Config: asynq.Config{Logger: noLogger{}}},
		"Config.LogLevel":           {Config: asynq.Config{LogLevel: 99}},
		"Config.GroupGracePeriod":   {Config: asynq.Config{GroupGracePeriod: time.Millisecond}},
		"negative Concurrency":      {Concurrency: -1},
		"negative ParkFor":          {ParkFor: -1},
		"endless ParkFor":           {ParkFor: 1<<63 - 1},
		"no queue":                  {Queues: []string{}},
		"no weight":                 {Weights: map[string]int{}},
		"an impossible queue":       {Queues: []string{"Mail"}},
		"an empty queue":            {Queues: []string{""}},
		"a queue twice":             {Queues: []string{"mail", "mail"}},
		"a weight of 0":             {Weights: map[string]int{"mail": 0}},
		"a weight of a billion":     {Weights: map[string]int{"mail": 1e9}},
		"a weight of another queue": {Queues: []string{"mail"}, Weights: map[string]int{"other": 1}},
		"two queues of one native name": {
			Queues: []string{"default", "tasks"}, QueueNames: map[string]string{"default": "tasks"},
		},
	} {
		if w, err := asynqexec.NewWorker(rdb, reg, opts); !errors.Is(err, core.ErrInvalid) || w != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, bad := range map[string]func() error{
		"nil client":   func() error { _, err := asynqexec.NewWorker(nil, reg, nil); return err },
		"typed nil":    func() error { _, err := asynqexec.NewWorker((*redis.ClusterClient)(nil), reg, nil); return err },
		"nil registry": func() error { _, err := asynqexec.NewWorker(rdb, nil, nil); return err },
		"nil worker":   func() error { return (*asynqexec.Worker)(nil).Run(t.Context()) },
		"zero worker":  func() error { return new(asynqexec.Worker).Run(t.Context()) },
		"nil context":  func() error { return newWorker(t, rdb, reg).Run(noContext) },
		"a second Run": func() error { return secondRun(t, newWorker(t, rdb, reg)) },
		"both Queues": func() error {
			return configure(asynq.Config{Queues: map[string]int{"a": 1}}, asynqexec.WorkerOptions{Queues: []string{"a"}})
		},
		"both Loggers": func() error { return configure(asynq.Config{Concurrency: 1}, asynqexec.WorkerOptions{Concurrency: 1}) },
		"both time-out": func() error {
			return configure(asynq.Config{ShutdownTimeout: 1}, asynqexec.WorkerOptions{DrainTimeout: 1})
		},
		"a Config in the options": func() error {
			return configure(asynq.Config{}, asynqexec.WorkerOptions{Config: asynq.Config{JanitorBatchSize: 1}})
		},
	} {
		if err := bad(); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func newWorker(t *testing.T, rdb redis.UniversalClient, reg *worker.Registry) *asynqexec.Worker {
	t.Helper()
	w, err := asynqexec.NewWorker(rdb, reg, nil)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func secondRun(t *testing.T, w *asynqexec.Worker) error {
	t.Helper()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Run(ended); err != nil {
		t.Error(err)
	}
	return w.Run(t.Context())
}

func configure(cfg asynq.Config, opts asynqexec.WorkerOptions) error {
	return asynqexec.ConfigureServer(&cfg, &opts)
}

type noLogger struct{}

func (noLogger) Debug(...any) {}
func (noLogger) Info(...any)  {}
func (noLogger) Warn(...any)  {}
func (noLogger) Error(...any) {}
func (noLogger) Fatal(...any) {}

func TestOptionsBecomeTheServersConfig(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		opts *asynqexec.WorkerOptions
		want map[string]int
	}{
		"nothing":   {nil, nil},
		"queues":    {&asynqexec.WorkerOptions{Queues: []string{"a", "b"}}, map[string]int{"a": 1, "b": 1}},
		"weights":   {&asynqexec.WorkerOptions{Weights: map[string]int{"a": 3, "b": 1}}, map[string]int{"a": 3, "b": 1}},
		"both":      {&asynqexec.WorkerOptions{Queues: []string{"a", "b"}, Weights: map[string]int{"a": 3}}, map[string]int{"a": 3, "b": 1}},
		"names":     {&asynqexec.WorkerOptions{Queues: []string{"a"}, QueueNames: map[string]string{"a": "A"}}, map[string]int{"A": 1}},
		"lanes":     {&asynqexec.WorkerOptions{Queues: []string{"a"}, Lanes: true}, map[string]int{"a}high": 6, "a": 3, "a}low": 1}},
		"the lanes": {&asynqexec.WorkerOptions{Lanes: true}, map[string]int{"default}high": 6, "default": 3, "default}low": 1}},
	} {
		cfg := asynq.Config{}
		if err := asynqexec.ConfigureServer(&cfg, tc.opts); err != nil || !maps.Equal(cfg.Queues, tc.want) {
			t.Errorf("%s: %v, %v", name, cfg.Queues, err)
		}
	}
	cfg := asynq.Config{}
	if err := asynqexec.ConfigureServer(&cfg, &asynqexec.WorkerOptions{Concurrency: 7, DrainTimeout: time.Minute}); err != nil {
		t.Fatal(err)
	}
	if cfg.Concurrency != 7 || cfg.ShutdownTimeout != time.Minute || cfg.Logger == nil {
		t.Errorf("%+v", cfg)
	}
}

// noContext is a nil context that linters do not see.
var noContext context.Context
