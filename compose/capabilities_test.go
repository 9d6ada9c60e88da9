package compose_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
)

func native() core.Claim { return core.Claim{Support: core.Native} }

func TestCommonCapabilitiesAreTheWeakest(t *testing.T) {
	t.Parallel()
	a := core.Capabilities{
		Executor: "a",
		Options: map[core.OptionName]core.Claim{
			core.OptionQueue:       native(),
			core.OptionDelay:       {Support: core.Native, Granularity: time.Second, Longest: time.Hour},
			core.OptionTimeout:     native(),
			core.OptionMaxAttempts: {Support: core.Native, Most: 20},
			core.OptionPriority:    {Support: core.Refused, Reason: "no lanes"},
			core.OptionUnique:      native(),
			core.OptionNative:      native(),
		},
		Delivery: core.AtLeastOnce, Durability: core.InBroker, Order: core.FIFO, Batch: core.AtomicBatch,
		IDWindow: core.Window{Kind: core.StoredWindow, Survives: core.SurvivesRestart},
		Ranking:  core.Strict, PriorityLevels: 10, MaxPayload: 100, DefaultAttempts: 3, CancelLatency: time.Second,
	}
	b := core.Capabilities{
		Executor: "b",
		Options: map[core.OptionName]core.Claim{
			core.OptionQueue:       native(),
			core.OptionDelay:       {Support: core.Native, Granularity: time.Millisecond, Longest: time.Minute},
			core.OptionTimeout:     {Support: core.Emulated, Reason: "native workers ignore it"},
			core.OptionMaxAttempts: native(),
			core.OptionPriority:    native(),
			core.OptionNative:      native(),
		},
		Delivery: core.AtLeastOnce, Durability: core.InProcess, Order: core.FIFO, Batch: core.AtomicBatch,
		IDWindow: core.Window{Kind: core.UnfinishedWindow, Count: 5, Survives: core.SurvivesReconnect},
		Ranking:  core.Weighted, PriorityLevels: 3, DefaultAttempts: 4, CancelLatency: time.Minute,
	}
	want := core.Capabilities{
		Executor: "a+b",
		Options: map[core.OptionName]core.Claim{
			core.OptionQueue:       native(),
			core.OptionDelay:       {Support: core.Native, Granularity: time.Second, Longest: time.Minute},
			core.OptionTimeout:     {Support: core.Emulated, Reason: "b: native workers ignore it"},
			core.OptionMaxAttempts: {Support: core.Native, Most: 20},
			core.OptionPriority:    {Reason: "a: no lanes"},
			core.OptionUnique:      {Reason: "b refuses it"},
			core.OptionNative:      {Reason: "it would be one of a or b alone"},
		},
		Delivery: core.AtLeastOnce, Durability: core.InProcess, Order: core.FIFO, Batch: core.PartialBatch,
		IDWindow: core.Window{Kind: core.UnfinishedWindow, Count: 5, Survives: core.SurvivesReconnect},
		Ranking:  core.Weighted, PriorityLevels: 3, MaxPayload: 100, CancelLatency: time.Minute + time.Second,
	}
	got := compose.CommonCapabilities(a, b)
	for name, claim := range got.Options {
		if _, ok := want.Options[name]; !ok && claim.Support == core.Refused {
			delete(got.Options, name) // neither claims it
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if c := a.Options[core.OptionUnique]; c != native() {
		t.Errorf("the claims of the executor were changed to %+v", c)
	}
}

func TestCommonCapabilitiesOfOneAreItsOwn(t *testing.T) {
	t.Parallel()
	caps := core.Capabilities{
		Executor: "a", Batch: core.AtomicBatch,
		Options: map[core.OptionName]core.Claim{core.OptionNative: native(), core.OptionDelay: {Reason: "no clock"}},
	}
	if got := compose.CommonCapabilities(caps); !reflect.DeepEqual(got, caps) {
		t.Errorf("got %+v, want %+v", got, caps)
	}
	if got := compose.CommonCapabilities(); !reflect.DeepEqual(got, core.Capabilities{}) {
		t.Errorf("of none: %+v", got)
	}
}

func TestNativeOptionsPassBetweenExecutorsOfOneName(t *testing.T) {
	t.Parallel()
	caps := core.Capabilities{Executor: "q", Options: map[core.OptionName]core.Claim{core.OptionNative: native()}}
	if err := compose.CommonCapabilities(caps, caps).Check(intent(t, 0, core.NativeOption("q", 1))); err != nil {
		t.Error(err)
	}
}

func TestCommonCapabilitiesRefuseWhatAnyOfThemRefuses(t *testing.T) {
	t.Parallel()
	odd := errors.New("odd one out")
	some := core.Capabilities{Refuse: func(in core.Intent) error {
		if string(in.Payload()) == "1" {
			return odd
		}
		return nil
	}}
	common := compose.CommonCapabilities(core.Capabilities{}, some, core.Capabilities{})
	if err := common.Check(intent(t, 0)); err != nil {
		t.Error(err)
	}
	wantErrorIs(t, common.Check(intent(t, 1)), odd)
}

func TestCommonIDWindow(t *testing.T) {
	t.Parallel()
	fixed := func(d time.Duration, s core.Survival) core.Capabilities {
		return core.Capabilities{IDWindow: core.Window{Kind: core.FixedWindow, For: d, Survives: s}}
	}
	stored := core.Capabilities{IDWindow: core.Window{Kind: core.StoredWindow, Survives: core.SurvivesRestart}}
	got := compose.CommonCapabilities(fixed(time.Minute, core.SurvivesRestart), fixed(time.Hour, core.SurvivesNothing)).IDWindow
	if want := (core.Window{Kind: core.FixedWindow, For: time.Minute}); got != want {
		t.Errorf("of two fixed: %+v, want %+v", got, want)
	}
	for name, other := range map[string]core.Capabilities{"fixed": fixed(time.Hour, ""), "none": {}} {
		if got := compose.CommonCapabilities(stored, other).IDWindow; got != (core.Window{}) {
			t.Errorf("of stored and %s: %+v, want none", name, got)
		}
	}
}
