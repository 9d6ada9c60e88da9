package core_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/goairlock/airlock/core"
)

func TestCheckSeesEachOptionByItself(t *testing.T) {
	t.Parallel()
	task := core.DeclareTask[int]("check.option")
	for name, opt := range map[core.OptionName]core.Option{
		core.OptionQueue:       core.Queue("mail"),
		core.OptionPriority:    core.Priority(1),
		core.OptionDelay:       core.Delay(time.Hour),
		core.OptionMaxAttempts: core.MaxAttempts(1),
		core.OptionBackoff:     core.Backoff(core.Fixed(time.Second)),
		core.OptionTimeout:     core.Timeout(time.Second),
		core.OptionDeadline:    core.Deadline(time.Now().Add(time.Hour)),
		core.OptionID:          core.ID("chosen"),
		core.OptionUnique:      core.Unique("key"),
		core.OptionHeader:      core.Header("K", "v"),
		core.OptionNative:      core.NativeOption("other", 1),
	} {
		in, err := task.Intent(1, opt)
		if err != nil {
			t.Fatal(err)
		}
		var refused *core.OptionError
		if err := (core.Capabilities{}).Check(in); !errors.As(err, &refused) || refused.Option != name {
			t.Errorf("%s: got %v, want its refusal", name, err)
		}
		if err := (core.Capabilities{}).Check(in.Without(name)); err != nil {
			t.Errorf("%s unset: got %v", name, err)
		}
	}
}

func TestCheckJudgesEveryIntentOfABatch(t *testing.T) {
	t.Parallel()
	in, err := core.DeclareTask[int]("check.batch").Intent(1)
	if err != nil {
		t.Fatal(err)
	}
	spoil := map[string]func(*core.Intent){
		"task":             func(in *core.Intent) { in.Task = "bad name" },
		"no task":          func(in *core.Intent) { in.Task = "" },
		"id":               func(in *core.Intent) { in.ID = "ä" },
		"no id":            func(in *core.Intent) { in.ID = "" },
		"an option":        func(in *core.Intent) { in.Options.Priority = 11 },
		"an unset timeout": func(in *core.Intent) { in.Options.Timeout = -1 },
	}
	exec := core.Guard(core.Capabilities{}, func(context.Context, ...core.Intent) error { return nil })
	for what, f := range spoil {
		bad := in
		f(&bad)
		out := core.OutcomesOf(exec(t.Context(), in, in, bad, in), []core.Intent{in, in, bad, in})
		for i, want := range []core.State{core.NotSent, core.NotSent, core.Rejected, core.NotSent} {
			if out[i].State != want {
				t.Errorf("%s: intent %d is %v, want %v", what, i, out[i].State, want)
			}
		}
	}
}

func TestIDTakesVisibleASCIIOfAnyLength(t *testing.T) {
	t.Parallel()
	task := core.DeclareTask[int]("check.id")
	for n := 1; n <= 40; n++ {
		good := strings.Repeat("~!", n)[:n]
		if _, err := task.Intent(1, core.ID(good)); err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		for at := range n {
			for c := range 256 {
				visible := c > ' ' && c < 0x7f
				_, err := task.Intent(1, core.ID(good[:at]+string([]byte{byte(c)})+good[at+1:]))
				if visible != (err == nil) {
					t.Fatalf("byte %#x at %d of %d: %v", c, at, n, err)
				}
			}
		}
	}
}

func TestRegistryCheckRejectsTasksWithoutHandler(t *testing.T) {
	t.Parallel()
	declared, other := core.DeclareTask[int]("check.declared"), core.DeclareTask[int]("check.other")
	own := core.NewTask("check.own", func(context.Context, int) error { return nil })
	reg, err := core.NewRegistry(core.Handle(declared, func(context.Context, int) error { return nil }))
	if err != nil {
		t.Fatal(err)
	}
	a, _ := declared.Intent(1)
	b, _ := own.Intent(1)
	c, _ := other.Intent(1)
	if err := reg.Check(a, b, a, b); err != nil {
		t.Errorf("known tasks: %v", err)
	}
	if err := reg.Check(core.Intent{}); !errors.Is(err, core.ErrNoHandler) {
		t.Errorf("zero intent: got %v", err)
	}
	if err := reg.Check(); err != nil {
		t.Errorf("no intents: %v", err)
	}
	err = reg.Check(a, c, b, c)
	out := core.OutcomesOf(err, []core.Intent{a, c, b, c})
	for i, want := range []core.State{core.NotSent, core.Rejected, core.NotSent, core.Rejected} {
		if out[i].State != want {
			t.Errorf("intent %d is %v, want %v", i, out[i].State, want)
		}
	}
	if !errors.Is(out[1].Err, core.ErrNoHandler) {
		t.Errorf("got %v, want ErrNoHandler", out[1].Err)
	}
	var none *core.Registry
	if err := none.Check(b); err != nil {
		t.Errorf("nil registry, task with its handler: %v", err)
	}
	if err := none.Check(a); err == nil {
		t.Error("nil registry knows a declared task")
	}
	b.Task = "check.forged" // its handler is another task's
	if err := none.Check(b); err == nil {
		t.Error("a handler counts for a task that is not its own")
	}
}

func TestExitedIsTheVerdictOnAGoexit(t *testing.T) {
	t.Parallel()
	task := core.NewTask("check.goexit", func(context.Context, int) error { runtime.Goexit(); return nil },
		core.MaxAttempts(2))
	in, err := task.Intent(1)
	if err != nil {
		t.Fatal(err)
	}
	var none *core.Registry
	d := in.Delivery()
	for attempt, want := range map[int]core.Action{1: core.Retry, 2: core.Dead} {
		d.Attempt = attempt
		apart := none.Perform(t.Context(), d)
		if v := d.Exited(); v.Action != want || v != apart {
			t.Errorf("attempt %d: got %v, Perform says %v", attempt, v, apart)
		}
	}
}
