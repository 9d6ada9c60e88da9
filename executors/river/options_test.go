package riverexec

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

func registry(t *testing.T, parts ...worker.Part) *worker.Registry {
	t.Helper()
	reg, err := worker.NewRegistry(parts...)
	if err != nil {
		t.Fatal(err)
	}
	return reg
}

func TestBadInputIsAnErrorAndNeverAPanic(t *testing.T) {
	t.Parallel()
	reg := registry(t)
	_, nilClient := New[any](nil, nil)
	_, nilDriver := NewWorker[pgx.Tx](nil, reg, nil)
	_, nilRegistry := NewWorker(riverpgxv5.New(nil), nil, nil)
	_, noPool := NewWorker(riverpgxv5.New(nil), reg, nil)
	var nilExecutor *Executor[any]
	var nilWorker *Worker[any]
	for name, err := range map[string]error{
		"nil client":              nilClient,
		"nil driver":              nilDriver,
		"nil registry":            nilRegistry,
		"driver without a pool":   noPool,
		"ConfigureClient(nil)":    ConfigureClient(nil),
		"AddWorkers to nil":       AddWorkers(nil, reg, nil),
		"AddWorkers of nil":       AddWorkers(&river.Config{}, nil, nil),
		"nil Execute":             nilExecutor.Execute(t.Context(), intent(t, "1")),
		"zero Execute":            new(Executor[any]).Execute(t.Context(), intent(t, "1")),
		"nil Execute, question":   core.Executor(nilExecutor.Execute).Check(t.Context(), intent(t, "1")),
		"nil CheckServer":         nilExecutor.CheckServer(t.Context()),
		"InTx of nil":             InTx[any](nil, 1)(t.Context(), intent(t, "1")),
		"InTx of zero":            InTx(new(Executor[any]), any(1))(t.Context(), intent(t, "1")),
		"nil Run":                 nilWorker.Run(t.Context()),
		"zero Run":                new(Worker[any]).Run(t.Context()),
		"CompleteTx outside":      CompleteTx[pgx.Tx](t.Context(), nil),
		"AddWorkers with a queue": AddWorkers(&river.Config{}, reg, &WorkerOptions{Queues: []string{"a"}}),
	} {
		if !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	nilExecutor.Capabilities()
	config := &river.Config{}
	for range 2 {
		if err := ConfigureClient(config); err != nil || len(config.Hooks) != 1 {
			t.Errorf("%v, %d hooks", err, len(config.Hooks))
		}
	}
}

func TestQueueNamesAreTranslatedBothWays(t *testing.T) {
	t.Parallel()
	names, err := newQueueNames(map[string]string{"mail": "mail-eu", "default": "main"})
	if err != nil {
		t.Fatal(err)
	}
	for portable, native := range map[string]string{"": "main", "default": "main", "mail": "mail-eu", "other": "other"} {
		if got := names.Native(portable); got != native {
			t.Errorf("%q is %q, want %q", portable, got, native)
		}
		if got := names.Portable(native); portable != "" && got != portable {
			t.Errorf("%q comes back as %q, want %q", native, got, portable)
		}
	}
	for name, bad := range map[string]map[string]string{
		"two for one": {"a": "x", "b": "x"}, "no native name": {"a": ""}, "a name River refuses": {"a": "Mail"},
		"no portable name": {"": "x"}, "a bad portable name": {"A": "x"}, "a long native name": {"a": strings.Repeat("x", 65)},
	} {
		if _, err := newQueueNames(bad); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The native name of one queue is not the portable name of another.
	names, err = newQueueNames(map[string]string{"mail": "post"})
	if err != nil {
		t.Fatal(err)
	}
	caps := capabilities(Options{}, names, "postgres")
	if err := caps.Check(intent(t, "1", core.Queue("post"))); !errors.Is(err, core.ErrUnsupported) {
		t.Errorf("queue post: %v", err)
	}
	if err := caps.Check(intent(t, "1", core.Queue("mail"))); err != nil {
		t.Errorf("queue mail: %v", err)
	}
}

func TestWorkerOptionsThatContradictAreRefused(t *testing.T) {
	t.Parallel()
	queues := map[string]river.QueueConfig{"a": {MaxWorkers: 1}}
	for name, opts := range map[string]WorkerOptions{
		"negative Concurrency":       {Concurrency: -1},
		"negative ParkFor":           {ParkFor: -1},
		"no queues":                  {Queues: []string{}},
		"a bad queue":                {Queues: []string{"A"}},
		"an empty queue":             {Queues: []string{""}},
		"another's native name":      {Queues: []string{"post"}, QueueNames: map[string]string{"mail": "post"}},
		"two QueueNames for one":     {QueueNames: map[string]string{"a": "x", "b": "x"}},
		"Queues and Config.Queues":   {Queues: []string{"a"}, Config: river.Config{Queues: queues}},
		"Concurrency, Config.Queues": {Concurrency: 1, Config: river.Config{Queues: queues}},
		"SoftStopTimeout":            {DrainTimeout: time.Second, Config: river.Config{SoftStopTimeout: time.Minute}},
		"two loggers":                {Logger: slog.New(slog.DiscardHandler), Config: river.Config{Logger: slog.New(slog.DiscardHandler)}},
	} {
		if _, _, err := opts.clientConfig(registry(t)); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	handled := core.DeclareTask[[]byte]("test.queued", core.Queue("mail")).Codec(core.Raw)
	reg := registry(t, worker.Handle(handled, nopHandler))
	config, _, err := (&WorkerOptions{DrainTimeout: -1, QueueNames: map[string]string{"mail": "post"}}).clientConfig(reg)
	if err != nil {
		t.Fatal(err)
	}
	if config.SoftStopTimeout != 1 || config.Queues["post"].MaxWorkers != 10 || config.Queues["default"].MaxWorkers != 10 || len(config.Queues) != 2 {
		t.Errorf("soft stop after %v, queues %v", config.SoftStopTimeout, config.Queues)
	}
}
