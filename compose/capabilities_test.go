package compose_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
)

func native() core.Claim { return core.Claim{Support: core.SupportNative} }

func TestCommonCapabilitiesAreTheWeakest(t *testing.T) {
	t.Parallel()
	a := core.Capabilities{
		Executor: "a",
		Options: map[core.OptionName]core.Claim{
			core.OptionQueue:       native(),
			core.OptionDelay:       {Support: core.SupportNative, Granularity: time.Second, Longest: time.Hour},
			core.OptionTimeout:     native(),
			core.OptionMaxAttempts: {Support: core.SupportNative, Most: 20},
			core.OptionPriority:    {Support: core.SupportRefused, Reason: "no lanes"},
			core.OptionUnique:      native(),
			core.OptionNative:      native(),
		},
		Delivery: core.GuaranteeAtLeastOnce, Durability: core.DurabilityBroker, Order: core.OrderFIFO, AtomicBatch: true,
		IDWindow: core.Window{Kind: core.WindowStored, PerQueue: true, Survives: core.SurvivalRestart}, Transactional: true,
		Ranking: core.RankingStrict, PriorityLevels: 10, MaxPayload: 100, DefaultAttempts: 3,
	}
	b := core.Capabilities{
		Executor: "b",
		Options: map[core.OptionName]core.Claim{
			core.OptionQueue:       native(),
			core.OptionDelay:       {Support: core.SupportNative, Granularity: time.Millisecond, Longest: time.Minute},
			core.OptionTimeout:     {Support: core.SupportEmulated, Reason: "native workers ignore it"},
			core.OptionMaxAttempts: native(),
			core.OptionPriority:    native(),
			core.OptionNative:      native(),
		},
		Delivery: core.GuaranteeAtLeastOnce, Durability: core.DurabilityProcess, Order: core.OrderFIFO, AtomicBatch: true,
		IDWindow: core.Window{Kind: core.WindowUnfinished, Count: 5, Survives: core.SurvivalReconnect},
		Ranking:  core.RankingWeighted, PriorityLevels: 3, DefaultAttempts: 4,
	}
	want := core.Capabilities{
		Executor: "a+b",
		Options: map[core.OptionName]core.Claim{
			core.OptionQueue:       native(),
			core.OptionDelay:       {Support: core.SupportNative, Granularity: time.Second, Longest: time.Minute},
			core.OptionTimeout:     {Support: core.SupportEmulated, Reason: "b: native workers ignore it"},
			core.OptionMaxAttempts: {Support: core.SupportNative, Most: 20},
			core.OptionPriority:    {Reason: "a: no lanes"},
			core.OptionUnique:      {Reason: "b refuses it"},
			core.OptionNative:      {Reason: "it would be one of a or b alone"},
		},
		Delivery: core.GuaranteeAtLeastOnce, Durability: core.DurabilityProcess, Order: core.OrderFIFO,
		IDWindow: core.Window{Kind: core.WindowUnfinished, Count: 5, PerQueue: true, Survives: core.SurvivalReconnect},
		Ranking:  core.RankingWeighted, PriorityLevels: 3, MaxPayload: 100,
	}
	got := compose.CommonCapabilities(a, b)
	for name, claim := range got.Options {
		if _, ok := want.Options[name]; !ok && claim.Support == core.SupportRefused {
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
		Executor: "a", AtomicBatch: true,
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
	window := func(kind core.WindowKind, d time.Duration, s core.Survival) core.Window {
		return core.Window{Kind: kind, For: d, Survives: s}
	}
	stored := window(core.WindowStored, 0, core.SurvivalRestart)
	ending := window(core.WindowStored, 5*time.Minute, core.SurvivalRestart)
	unfinished := window(core.WindowUnfinished, 0, core.SurvivalNone)
	minute, hour := window(core.WindowFixed, time.Minute, core.SurvivalRestart), window(core.WindowFixed, time.Hour, core.SurvivalNone)
	for name, tt := range map[string]struct{ a, b, want core.Window }{
		"two fixed":                 {minute, hour, window(core.WindowFixed, time.Minute, core.SurvivalNone)},
		"stored, one with an end":   {stored, ending, ending},
		"with an end, unfinished":   {ending, unfinished, unfinished},
		"stored and fixed":          {stored, hour, core.Window{}},
		"stored and none":           {stored, core.Window{}, core.Window{}},
		"two none":                  {core.Window{PerQueue: true}, core.Window{}, core.Window{}},
		"two of which one is queue": {stored, core.Window{Kind: core.WindowStored, PerQueue: true}, core.Window{Kind: core.WindowStored, PerQueue: true}},
	} {
		for _, pair := range [][2]core.Window{{tt.a, tt.b}, {tt.b, tt.a}} {
			got := compose.CommonCapabilities(core.Capabilities{IDWindow: pair[0]}, core.Capabilities{IDWindow: pair[1]}).IDWindow
			if got != tt.want {
				t.Errorf("%s: %+v, want %+v", name, got, tt.want)
			}
		}
	}
}

func TestCommonCapabilitiesAreTransactionalIfAllAre(t *testing.T) {
	t.Parallel()
	yes, no := core.Capabilities{Transactional: true}, core.Capabilities{}
	if !compose.CommonCapabilities(yes, yes).Transactional || compose.CommonCapabilities(yes, no).Transactional {
		t.Error("transactional is not what all are")
	}
}

// capabilitiesOf returns what a wrapper over these executors answers.
func capabilitiesOf(t testing.TB, wrapper string, caps ...core.Capabilities) core.Capabilities {
	t.Helper()
	execs := []core.Executor{accept, accept}
	for i, c := range caps {
		execs[i] = adapter.Guard(c, accept)
	}
	got, ok := wrappers(t, execs[0], execs[1])[wrapper].Capabilities()
	if !ok {
		t.Fatal("it does not say")
	}
	return got
}

func TestFallbackTakesWhatEitherTakesAndPromisesWhatBothKeep(t *testing.T) {
	t.Parallel()
	const minute, hour = time.Minute, time.Hour
	a := core.Capabilities{
		Executor: "a",
		Options: map[core.OptionName]core.Claim{
			core.OptionQueue:       native(),
			core.OptionDelay:       {Support: core.SupportNative, Granularity: time.Second, Longest: minute},
			core.OptionMaxAttempts: {Support: core.SupportNative, Most: 20},
			core.OptionPriority:    native(),
			core.OptionTimeout:     {Reason: "no clock"},
			core.OptionUnique:      {Reason: "no index"},
			core.OptionNative:      native(),
		},
		Delivery: core.GuaranteeAtLeastOnce, Durability: core.DurabilityBroker, Order: core.OrderFIFO, AtomicBatch: true,
		IDWindow: core.Window{Kind: core.WindowStored}, Transactional: true,
		Ranking: core.RankingStrict, PriorityLevels: 10, MaxPayload: 1000, DefaultAttempts: 25,
	}
	b := core.Capabilities{
		Executor: "b",
		Options: map[core.OptionName]core.Claim{
			core.OptionQueue:       {Support: core.SupportEmulated, Reason: "our worker"},
			core.OptionDelay:       {Support: core.SupportNative, Granularity: time.Millisecond, Longest: hour},
			core.OptionMaxAttempts: native(),
			core.OptionTimeout:     {Support: core.SupportEmulated, Reason: "our worker"},
		},
		Delivery: core.GuaranteeAtMostOnce, Durability: core.DurabilityProcess,
		IDWindow: core.Window{Kind: core.WindowStored}, MaxPayload: 100, DefaultAttempts: 25,
	}
	want := core.Capabilities{
		Executor: "a+b",
		Options: map[core.OptionName]core.Claim{
			core.OptionQueue:       {Support: core.SupportEmulated, Reason: "b: our worker"},
			core.OptionDelay:       {Support: core.SupportNative, Granularity: time.Second, Longest: hour},
			core.OptionMaxAttempts: native(),
			core.OptionPriority:    {Support: core.SupportNative, Reason: "a alone takes it"},
			core.OptionTimeout:     {Support: core.SupportEmulated, Reason: "b: our worker"},
			core.OptionUnique:      {Reason: "a: no index"},
			core.OptionNative:      {Reason: "it would be one of a or b alone"},
		},
		Delivery: core.GuaranteeAtMostOnce, Durability: core.DurabilityProcess,
		Ranking: core.RankingStrict, PriorityLevels: 10, MaxPayload: 1000, DefaultAttempts: 25,
	}
	got := capabilitiesOf(t, "WithFallback", a, b)
	both, err := task.Intent(1, core.Priority(3), core.Timeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	wantErrorIs(t, got.Check(both), core.ErrUnsupported) // each takes one of the two options
	if err := got.Check(both.Without(core.OptionTimeout)); err != nil {
		t.Error(err)
	}
	got.Refuse = nil
	for name, claim := range got.Options {
		if _, ok := want.Options[name]; !ok && claim.Support == core.SupportRefused {
			delete(got.Options, name) // neither claims it
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestFallbackRanksAsTheOneThatTakesPriorities(t *testing.T) {
	t.Parallel()
	ranks := core.Capabilities{
		Ranking: core.RankingWeighted, PriorityLevels: 3,
		Options: map[core.OptionName]core.Claim{core.OptionPriority: native()},
	}
	strict := core.Capabilities{
		Ranking: core.RankingStrict, PriorityLevels: 10,
		Options: map[core.OptionName]core.Claim{core.OptionPriority: native()},
	}
	for _, pair := range [][2]core.Capabilities{{ranks, {}}, {{}, ranks}, {ranks, strict}, {strict, ranks}} {
		if got := capabilitiesOf(t, "WithFallback", pair[0], pair[1]); got.Ranking != core.RankingWeighted || got.PriorityLevels != 3 {
			t.Errorf("of %+v: %s ranking with %d levels", pair, got.Ranking, got.PriorityLevels)
		}
	}
}

func TestStripClaimsNothingOfWhatItDrops(t *testing.T) {
	t.Parallel()
	caps := few("q")
	caps.Options[core.OptionTimeout] = native()
	caps.Options[core.OptionDelay] = core.Claim{Reason: "no clock"}
	exec := compose.Strip(adapter.Guard(caps, accept), core.OptionTimeout, core.OptionDelay)
	got, ok := exec.Capabilities()
	want := map[core.OptionName]core.Claim{
		core.OptionQueue: native(), core.OptionTimeout: {Reason: "Strip drops it"}, core.OptionDelay: {Reason: "no clock"},
	}
	if !ok || !reflect.DeepEqual(got.Options, want) {
		t.Errorf("claims %+v, want %+v", got.Options, want)
	}
	if err := exec.Check(t.Context(), intent(t, 0, core.Delay(time.Hour))); err != nil {
		t.Errorf("a dispatch takes it, Check does not: %v", err)
	}
}

func TestCapabilitiesOfAWrapperAreTheCallers(t *testing.T) {
	t.Parallel()
	exec := adapter.Guard(few("q"), accept)
	for name, wrapped := range wrappers(t, exec, exec) {
		first, _ := wrapped.Capabilities()
		first.Options[core.OptionQueue] = core.Claim{Reason: "changed"}
		if second, _ := wrapped.Capabilities(); second.Options[core.OptionQueue] != native() {
			t.Errorf("%s: a change of the answer changes the next one", name)
		}
	}
}
