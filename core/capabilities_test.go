package core_test

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goairlock/airlock/core"
)

// oneOf makes an intent for each option, with that option alone.
func oneOf(t testing.TB) map[core.OptionName]core.Intent {
	t.Helper()
	all := map[core.OptionName]core.Intent{}
	for name, opt := range map[core.OptionName]core.Option{
		core.OptionQueue: core.Queue("mail"), core.OptionPriority: core.Priority(1), core.OptionDelay: core.Delay(time.Hour), core.OptionMaxAttempts: core.MaxAttempts(5),
		core.OptionBackoff: core.Backoff(core.Exponential(time.Second, time.Hour)), core.OptionTimeout: core.Timeout(time.Hour), core.OptionDeadline: core.Deadline(time.Now().Add(time.Hour)),
		core.OptionID: core.ID("a"), core.OptionUnique: core.Unique("a"), core.OptionHeader: core.Header("A", canary), core.OptionNative: core.NativeOption("all", canary),
	} {
		all[name] = must(plain.Intent(canary, opt))(t)
	}
	return all
}

func TestCapabilitiesRefuseWhatTheyDoNotClaim(t *testing.T) {
	t.Parallel()
	for name, in := range oneOf(t) {
		if !in.Has(name) || in.Has("no such option") {
			t.Errorf("%s: not set", name)
		}
		for support, taken := range map[core.Support]bool{core.SupportNative: true, core.SupportEmulated: true, core.SupportNotApplicable: true, core.SupportRefused: false, "maybe": false} {
			caps := core.Capabilities{Executor: "all", Options: map[core.OptionName]core.Claim{name: {Support: support, Reason: "it says so"}}}
			err := caps.Check(in)
			var refused *core.OptionError
			switch {
			case taken != (err == nil):
				t.Errorf("%s %q: %v", name, support, err)
			case err != nil && (!errors.As(err, &refused) || *refused != (core.OptionError{Option: name, Executor: "all", Reason: "it says so"})):
				t.Errorf("%s %q: %v", name, support, err)
			}
			if err := caps.Check(in.Without(name)); err != nil {
				t.Errorf("%s unset: %v", name, err)
			}
		}
		caps := everything()
		if err := caps.Check(in); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		delete(caps.Options, name)
		if err := caps.Check(in); !errors.Is(err, core.ErrUnsupported) {
			t.Errorf("%s without a claim: %v", name, err)
		}
	}
}

func TestCapabilitiesRefuseBeyondTheirLimits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for name, in := range oneOf(t) {
			for _, c := range []struct {
				claim core.Claim
				names string
			}{
				{core.Claim{Support: core.SupportNative, Longest: time.Hour, Most: 5}, ""},
				{core.Claim{Support: core.SupportEmulated, Longest: time.Hour - 1}, "1h0m0s"},
				{core.Claim{Support: core.SupportNative, Most: 4}, "4"},
			} {
				caps := everything()
				caps.Options[name] = c.claim
				limited := c.claim.Longest == time.Hour-1 && (name == core.OptionDelay || name == core.OptionDeadline || name == core.OptionTimeout || name == core.OptionBackoff) ||
					c.claim.Most == 4 && name == core.OptionMaxAttempts
				err := caps.Check(in)
				var refused *core.OptionError
				switch {
				case limited != (err != nil):
					t.Errorf("%s with %+v: %v", name, c.claim, err)
				case err != nil && (!errors.As(err, &refused) || refused.Option != name || !strings.Contains(refused.Reason, c.names)):
					t.Errorf("%s with %+v: %v", name, c.claim, err)
				}
			}
		}
		caps := everything()
		caps.Options[core.OptionDelay] = core.Claim{Support: core.SupportNative, Longest: time.Second}
		if err := caps.Check(must(plain.Intent("", core.At(time.Now().Add(-time.Hour))))(t)); err != nil {
			t.Errorf("a time in the past: %v", err)
		}
	})
}

func TestCapabilitiesLimitThePayload(t *testing.T) {
	t.Parallel()
	for most, good := range map[int]bool{0: true, 7: false, 8: true, 9: true} {
		err := core.Capabilities{Executor: "small", MaxPayload: most}.Check(must(plain.Intent(canary))(t))
		if good != (err == nil) {
			t.Errorf("%d: %v", most, err)
		}
		if err != nil && (!errors.Is(err, core.ErrTooLarge) || errors.Is(err, core.ErrInvalid) || err.Error() != "airlock: task test.plain: payload of 8 bytes, small takes at most 7") {
			t.Errorf("%d: %v", most, err)
		}
	}
}

func TestNativeOptionsAreForOneExecutorOnly(t *testing.T) {
	t.Parallel()
	caps := everything()
	for name, opts := range map[string][]core.Option{
		"another": {core.NativeOption("nats", canary)}, "ours and another": {core.NativeOption("all", 1), core.NativeOption("nats", canary)},
	} {
		err := caps.Check(must(plain.Intent("", opts...))(t))
		var refused *core.OptionError
		if !errors.As(err, &refused) || refused.Option != core.OptionNative || !strings.Contains(err.Error(), "it is for nats only") || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := caps.Check(must(plain.Intent("", core.NativeOption("all", 1), core.NativeOption("all", 2)))(t)); err != nil {
		t.Error(err)
	}
}

func TestRefuseIsAskedAfterTheClaims(t *testing.T) {
	t.Parallel()
	ins := intents(t, 2)
	var err error
	caps := everything()
	caps.Refuse = func(core.Intent) error { return err }
	if err := caps.CheckCall(ins); err != nil {
		t.Error(err)
	}
	err = core.ErrUnsupported
	if got := caps.CheckCall(ins); states(core.OutcomesOf(got, ins)) != "rejected,rejected" || !errors.Is(got, err) {
		t.Errorf("got %v", got)
	}
	var p *core.PanicError
	err = (*hostile)(nil)
	if got := caps.CheckCall(ins); !errors.As(got, &p) {
		t.Errorf("got %v", got)
	}
	caps.Refuse = func(core.Intent) error { panic(io.EOF) }
	got := caps.CheckCall(ins)
	if states(core.OutcomesOf(got, ins)) != "rejected,rejected" || !errors.As(got, &p) || !errors.Is(got, io.EOF) || len(p.Stack) == 0 {
		t.Errorf("got %v", got)
	}
	caps.Refuse = func(core.Intent) error { panic((*hostile)(nil)) }
	if got := caps.CheckCall(ins); !errors.As(got, &p) || len(p.Stack) == 0 || errors.Is(got, io.EOF) {
		t.Errorf("got %v", got)
	}
	caps.Options = nil
	if err := caps.Check(must(plain.Intent("", core.Priority(1)))(t)); !errors.Is(err, core.ErrUnsupported) {
		t.Errorf("Refuse was asked before the claims: %v", err)
	}
}

func TestCapabilitiesAreReportedAsJSON(t *testing.T) {
	t.Parallel()
	caps := everything()
	caps.Refuse = func(core.Intent) error { return nil }
	caps.Options = map[core.OptionName]core.Claim{core.OptionDelay: {Support: core.SupportEmulated, Granularity: time.Second}}
	data, err := json.Marshal(caps)
	if err != nil {
		t.Fatal(err)
	}
	var back core.Capabilities
	if err := json.Unmarshal(data, &back); err != nil || back.Options[core.OptionDelay] != caps.Options[core.OptionDelay] || back.Executor != "all" {
		t.Errorf("got %s, %v", data, err)
	}
}

func TestPortableOptionsReturnsACopy(t *testing.T) {
	t.Parallel()
	names := core.PortableOptions()
	names[0] = "changed"
	if core.PortableOptions()[0] != core.OptionQueue || len(names) != 10 {
		t.Errorf("got %v", core.PortableOptions())
	}
}

func TestCheckSeesEachOption(t *testing.T) {
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

func TestCheckCallChecksEveryIntent(t *testing.T) {
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
	var caps core.Capabilities
	for what, f := range spoil {
		bad := in
		f(&bad)
		out := core.OutcomesOf(caps.CheckCall([]core.Intent{in, in, bad, in}), []core.Intent{in, in, bad, in})
		for i, want := range []core.State{core.NotSent, core.NotSent, core.Rejected, core.NotSent} {
			if out[i].State != want {
				t.Errorf("%s: intent %d is %v, want %v", what, i, out[i].State, want)
			}
		}
	}
}
