package asynqexec_test

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
)

// setup makes an executor on a client of a Redis that is not there.
func setup(t *testing.T, opts *asynqexec.Options) *asynqexec.Executor {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	t.Cleanup(func() { _ = rdb.Close() })
	exec, err := asynqexec.New(rdb, opts)
	if err != nil {
		t.Fatal(err)
	}
	return exec
}

func intent(t *testing.T, opts ...core.Option) core.Intent {
	t.Helper()
	in, err := core.DeclareTask[string]("test.work").Intent("a", opts...)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func TestBadInputIsInvalid(t *testing.T) {
	t.Parallel()
	good := redis.NewClient(&redis.Options{})
	defer good.Close()
	var none context.Context
	for name, bad := range map[string]func() error{
		"nil client":                          func() error { _, err := asynqexec.New(nil, nil); return err },
		"typed nil client":                    func() error { _, err := asynqexec.New((*redis.Client)(nil), nil); return err },
		"typed nil cluster":                   func() error { _, err := asynqexec.New((*redis.ClusterClient)(nil), nil); return err },
		"an endless window":                   func() error { _, err := asynqexec.New(good, &asynqexec.Options{IDWindow: 1<<63 - 1}); return err },
		"nil config":                          func() error { return asynqexec.Configure(nil) },
		"nil context":                         func() error { return setup(t, nil).Execute(none, intent(t)) },
		"nil context, asked about the server": func() error { return setup(t, nil).CheckServer(none) },
		"zero intent":                         func() error { return setup(t, nil).Execute(t.Context(), core.Intent{}) },
		"nil native option":                   func() error { return setup(t, nil).Execute(t.Context(), intent(t, asynqexec.Native(nil))) },
		"negative retention": func() error {
			return setup(t, nil).Execute(t.Context(), intent(t, asynqexec.Native(asynq.Retention(-1))))
		},
		"empty group": func() error { return setup(t, nil).Execute(t.Context(), intent(t, asynqexec.Native(asynq.Group("")))) },
	} {
		if err := bad(); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := setup(t, nil).Execute(t.Context()); err != nil {
		t.Errorf("no intents: %v", err)
	}
}

func TestWhatHasAPortableFormOrLosesSomethingIsRefused(t *testing.T) {
	t.Parallel()
	exec := setup(t, nil)
	for name, opt := range map[string]core.Option{
		"queue": asynqexec.Native(asynq.Queue("q")), "id": asynqexec.Native(asynq.TaskID("x")),
		"retry": asynqexec.Native(asynq.MaxRetry(1)), "timeout": asynqexec.Native(asynq.Timeout(time.Second)),
		"deadline": asynqexec.Native(asynq.Deadline(time.Now())), "at": asynqexec.Native(asynq.ProcessAt(time.Now())),
		"in": asynqexec.Native(asynq.ProcessIn(time.Second)), "unique": asynqexec.Native(asynq.Unique(time.Second)),
		"a stranger's": asynqexec.Native(strangeOption{}), "another executor's": core.NativeOption("river", 1),
		"not made by Native": core.NativeOption("asynq", 1), "priority without lanes": core.Priority(5),
	} {
		if err := exec.Execute(t.Context(), intent(t, opt)); !errors.Is(err, core.ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
	grouped := intent(t, asynqexec.Native(asynq.Group("g")), core.Delay(time.Hour))
	if err := exec.Execute(t.Context(), grouped); !errors.Is(err, core.ErrUnsupported) {
		t.Errorf("a group with a delay: %v", err)
	}
}

// strangeOption is of a type that asynq ignores without a word.
type strangeOption struct{}

func (strangeOption) String() string         { return "strange" }
func (strangeOption) Type() asynq.OptionType { return asynq.RetentionOpt + 100 }
func (strangeOption) Value() any             { return time.Second }

func TestCapabilitiesFollowTheOptions(t *testing.T) {
	t.Parallel()
	caps := setup(t, nil).Capabilities()
	if w := caps.IDWindow; w.Kind != core.StoredWindow || w.For != 5*time.Minute {
		t.Errorf("window %+v", w)
	}
	if w := setup(t, &asynqexec.Options{IDWindow: -1}).Capabilities().IDWindow; w.Kind != core.UnfinishedWindow {
		t.Errorf("window %+v", w)
	}
	lanes := setup(t, &asynqexec.Options{Lanes: true}).Capabilities()
	if lanes.Check(intent(t, core.Priority(1))) != nil || lanes.PriorityLevels != 3 || lanes.Ranking != core.Weighted {
		t.Errorf("lanes: %+v", lanes)
	}
	for _, option := range core.PortableOptions() {
		if claim := lanes.Options[option]; claim.Support == core.Refused {
			t.Errorf("%s is refused", option)
		}
	}
}

func TestLanesKeepTheQueuesWeights(t *testing.T) {
	t.Parallel()
	want := map[string]int{"mail}high": 12, "mail": 6, "mail}low": 2, "slow}high": 6, "slow": 3, "slow}low": 1}
	if got := asynqexec.Lanes(map[string]int{"mail": 2, "slow": 1}); !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
	if got := asynqexec.Lanes(nil); got["default"] != 3 || len(got) != 3 {
		t.Errorf("%v", got)
	}
}

func TestConfigureKeepsWhatWasThere(t *testing.T) {
	t.Parallel()
	type key struct{}
	told := 0
	cfg := asynq.Config{
		RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return 42 * time.Hour },
		IsFailure:      func(err error) bool { return !errors.Is(err, context.Canceled) },
		BaseContext:    func() context.Context { return context.WithValue(context.Background(), key{}, "mine") },
		ErrorHandler:   asynq.ErrorHandlerFunc(func(context.Context, *asynq.Task, error) { told++ }),
	}
	if err := asynqexec.Configure(&cfg); err != nil {
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
	reg, err := core.NewRegistry(core.Handle(core.DeclareTask[string]("test.work"), func(context.Context, string) error {
		return core.Snooze(time.Hour)
	}))
	if err != nil {
		t.Fatal(err)
	}
	snoozed := asynqexec.Handler(reg).ProcessTask(t.Context(), asynq.NewTask("test.work", []byte(`"a"`)))
	cfg.ErrorHandler.HandleError(t.Context(), native, snoozed)
	cfg.ErrorHandler.HandleError(t.Context(), native, errors.New("x"))
	if cfg.IsFailure(snoozed) || told != 1 {
		t.Errorf("a snooze is a failure, or was told: %d", told)
	}
	if d := cfg.RetryDelayFunc(0, snoozed, native); d < time.Hour || d > time.Hour+time.Second {
		t.Errorf("a snooze of an hour waits %v", d)
	}
	// A time-out or an expired lease brings no verdict of ours, only the task.
	task := asynq.NewTaskWithHeaders("test.work", nil, map[string]string{
		"Airlock-Envelope": string(core.Envelope{Backoff: core.Exponential(10*time.Second, time.Hour)}.Encode()),
	})
	if d := cfg.RetryDelayFunc(2, asynq.ErrLeaseExpired, task); d < 40*time.Second || d > 41*time.Second {
		t.Errorf("the third attempt's backoff is %v", d)
	}
}
