package asynqexec_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
	"github.com/goairlock/airlock/worker"
)

func TestConfigureServerKeepsWhatWasThere(t *testing.T) {
	t.Parallel()
	type key struct{}
	handled := 0
	cfg := asynq.Config{
		RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return 42 * time.Hour },
		IsFailure:      func(err error) bool { return !errors.Is(err, context.Canceled) },
		BaseContext:    func() context.Context { return context.WithValue(context.Background(), key{}, "mine") },
		ErrorHandler:   asynq.ErrorHandlerFunc(func(context.Context, *asynq.Task, error) { handled++ }),
	}
	if err := asynqexec.ConfigureServer(&cfg, nil); err != nil {
		t.Fatal(err)
	}
	native := asynq.NewTask("native", nil)
	if d := cfg.RetryDelayFunc(0, errors.New("x"), native); d != 42*time.Hour {
		t.Errorf("a native job waits %v", d)
	}
	if cfg.IsFailure(context.Canceled) || !cfg.IsFailure(errors.New("x")) {
		t.Error("IsFailure has forgotten the one that was there")
	}
	if cfg.BaseContext().Value(key{}) != "mine" {
		t.Error("BaseContext has forgotten the one that was there")
	}
	reg, err := worker.NewRegistry(worker.Handle(core.DeclareTask[string]("test.work"), func(context.Context, string) error {
		return worker.Snooze(time.Hour)
	}))
	if err != nil {
		t.Fatal(err)
	}
	snoozed := asynqexec.Handler(reg).ProcessTask(t.Context(), asynq.NewTask("test.work", []byte(`"a"`)))
	cfg.ErrorHandler.HandleError(t.Context(), native, snoozed)
	cfg.ErrorHandler.HandleError(t.Context(), native, errors.New("x"))
	if cfg.IsFailure(snoozed) || handled != 1 {
		t.Errorf("a snooze is a failure, or the ErrorHandler was called: %d", handled)
	}
	if d := cfg.RetryDelayFunc(0, snoozed, native); d < time.Hour || d > time.Hour+time.Second {
		t.Errorf("a snooze of an hour waits %v", d)
	}
	// A time-out or an expired lease gives us no verdict, only the task.
	task := asynq.NewTaskWithHeaders("test.work", nil, map[string]string{
		"Airlock-Envelope": string(adapter.Envelope{Backoff: core.Exponential(10*time.Second, time.Hour)}.Encode()),
	})
	if d := cfg.RetryDelayFunc(2, asynq.ErrLeaseExpired, task); d < 40*time.Second || d > 41*time.Second {
		t.Errorf("the third attempt's backoff is %v", d)
	}
	// A job whose attempts are used up waits for nothing.
	last := asynq.NewTaskWithHeaders("test.work", nil, map[string]string{
		"Airlock-Envelope": string(adapter.Envelope{MaxAttempts: 3, Backoff: core.Fixed(time.Hour)}.Encode()),
	})
	if d := cfg.RetryDelayFunc(2, asynq.ErrLeaseExpired, last); d != 0 {
		t.Errorf("the last attempt's backoff is %v", d)
	}
}
