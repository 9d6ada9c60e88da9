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
		"nil client":                           func() error { _, err := asynqexec.New(nil, nil); return err },
		"typed nil client":                     func() error { _, err := asynqexec.New((*redis.Client)(nil), nil); return err },
		"typed nil cluster":                    func() error { _, err := asynqexec.New((*redis.ClusterClient)(nil), nil); return err },
		"typed nil ring":                       func() error { _, err := asynqexec.New((*redis.Ring)(nil), nil); return err },
		"nil executor":                         func() error { return (*asynqexec.Executor)(nil).Execute(t.Context(), intent(t)) },
		"zero executor":                        func() error { return new(asynqexec.Executor).Execute(t.Context(), intent(t)) },
		"zero executor, asked":                 func() error { return core.Executor(new(asynqexec.Executor).Execute).Check(t.Context()) },
		"nil executor, asked about the server": func() error { return (*asynqexec.Executor)(nil).CheckServer(t.Context()) },
		"an endless window":                    func() error { _, err := asynqexec.New(good, &asynqexec.Options{IDWindow: 1<<63 - 1}); return err },
		"nil config":                           func() error { return asynqexec.ConfigureServer(nil, nil) },
		"nil context":                          func() error { return setup(t, nil).Execute(none, intent(t)) },
		"nil context, asked about the server":  func() error { return setup(t, nil).CheckServer(none) },
		"zero intent":                          func() error { return setup(t, nil).Execute(t.Context(), core.Intent{}) },
		"nil native option":                    func() error { return setup(t, nil).Execute(t.Context(), intent(t, asynqexec.Native(nil))) },
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

// strangeOption is of a type that asynq ignores silently.
type strangeOption struct{}

func (strangeOption) String() string         { return "strange" }
func (strangeOption) Type() asynq.OptionType { return asynq.RetentionOpt + 100 }
func (strangeOption) Value() any             { return time.Second }

func TestCapabilitiesFollowTheOptions(t *testing.T) {
	t.Parallel()
	caps := setup(t, nil).Capabilities()
	if w := caps.IDWindow; w.Kind != core.WindowStored || w.For != 5*time.Minute || !w.PerQueue {
		t.Errorf("window %+v", w)
	}
	if w := setup(t, &asynqexec.Options{IDWindow: -1}).Capabilities().IDWindow; w.Kind != core.WindowUnfinished {
		t.Errorf("window %+v", w)
	}
	lanes := setup(t, &asynqexec.Options{Lanes: true}).Capabilities()
	if lanes.Check(intent(t, core.Priority(1))) != nil || lanes.PriorityLevels != 3 || lanes.Ranking != core.RankingWeighted {
		t.Errorf("lanes: %+v", lanes)
	}
	for _, option := range core.PortableOptions() {
		if claim := lanes.Options[option]; claim.Support == core.SupportRefused {
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
