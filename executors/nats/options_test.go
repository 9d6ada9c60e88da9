package natsexec

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/core"
)

func TestOptionsHaveBounds(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		opts *Options
		want string // in the error; none if they are good
	}{
		"none":                     {opts: nil},
		"zero":                     {opts: &Options{}},
		"the least AckWait":        {opts: &Options{AckWait: time.Second}},
		"a short AckWait":          {opts: &Options{AckWait: time.Second - 1}, want: "Options.AckWait of 999.999999ms, want at least 1s"},
		"a negative AckWait":       {opts: &Options{AckWait: -1}, want: "Options.AckWait"},
		"a negative AckTimeout":    {opts: &Options{AckTimeout: -time.Second}, want: "Options.AckTimeout of -1s"},
		"a negative DrainTimeout":  {opts: &Options{DrainTimeout: -1}, want: "Options.DrainTimeout"},
		"a negative ParkFor":       {opts: &Options{ParkFor: -1}, want: "Options.ParkFor"},
		"negative concurrency":     {opts: &Options{Concurrency: -1}, want: "Options.Concurrency of -1"},
		"a fixed backoff":          {opts: &Options{Backoff: core.Fixed(time.Second)}},
		"a backoff that shrinks":   {opts: &Options{Backoff: core.Exponential(time.Minute, time.Second)}, want: "Options.Backoff from 1m0s to 1s"},
		"a backoff without a wait": {opts: &Options{Backoff: core.Exponential(0, time.Second)}, want: "Options.Backoff"},
	} {
		got, err := tc.opts.orDefaults()
		switch {
		case tc.want == "" && err != nil, tc.want != "" && (!errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), tc.want)):
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		case err == nil && (got.AckTimeout <= 0 || got.AckWait < time.Second || got.DrainTimeout <= 0 || got.ParkFor <= 0 ||
			got.Concurrency <= 0 || got.Backoff.IsZero() || got.Logger == nil):
			t.Errorf("%s: something is left unset in %+v", name, got)
		}
	}
	given := Options{AckTimeout: 7, AckWait: time.Hour, DrainTimeout: 8, ParkFor: 9, Concurrency: 3, Backoff: core.Fixed(5)}
	got, err := given.orDefaults()
	if err != nil || got.AckTimeout != 7 || got.AckWait != time.Hour || got.DrainTimeout != 8 || got.ParkFor != 9 || got.Concurrency != 3 || got.Backoff != given.Backoff {
		t.Errorf("%+v became %+v, %v", given, got, err)
	}
}

func TestQueuesOfAWorker(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ given, want string }{
		{"", "default"}, {"mail,,mail,default", "mail,default"}, {"a-b_c", "a-b_c"},
		{"Mail", ""}, {"a.b", ""}, {"*", ""}, {">", ""}, {"a b", ""}, {"a--b", ""}, {strings.Repeat("a", 65), ""},
	} {
		got, err := queues(strings.Split(tc.given, ","))
		if tc.want == "" {
			if !errors.Is(err, core.ErrInvalid) {
				t.Errorf("%q: %v", tc.given, err)
			}
			continue
		}
		if err != nil || strings.Join(got, ",") != tc.want {
			t.Errorf("%q: %q, %v", tc.given, got, err)
		}
	}
}

// What a stream allows is what is claimed.
func TestClaimsFollowTheStream(t *testing.T) {
	t.Parallel()
	full := jetstream.StreamConfig{Name: "JOBS", Replicas: 1, Duplicates: time.Hour, AllowMsgSchedules: true, AllowAtomicPublish: true}
	bare := jetstream.StreamConfig{Name: "JOBS", Replicas: 1, Duplicates: time.Minute}
	claims := func(cfg jetstream.StreamConfig, o Options) core.Capabilities {
		return capabilities(cfg, o, &mapping{stream: "JOBS", lanes: o.Lanes}, 1<<20)
	}
	for name, tc := range map[string]struct {
		caps    core.Capabilities
		refused []core.OptionName
	}{
		"all":               {claims(full, Options{Lanes: true}), nil},
		"without lanes":     {claims(full, Options{}), []core.OptionName{core.OptionPriority}},
		"without schedules": {claims(bare, Options{Lanes: true}), []core.OptionName{core.OptionDelay}},
	} {
		refused := map[core.OptionName]bool{}
		for _, o := range tc.refused {
			refused[o] = true
		}
		for _, o := range core.PortableOptions() {
			claim := tc.caps.Options[o]
			if (claim.Support == core.Refused) != refused[o] {
				t.Errorf("%s: %s is %v", name, o, claim.Support)
			}
			if claim.Support == core.Refused && claim.Reason == "" {
				t.Errorf("%s: %s is refused without a reason", name, o)
			}
		}
	}
	if got := claims(full, Options{}).IDWindow; got.Kind != core.FixedWindow || got.For != time.Hour || got.Survives != core.SurvivesReconnect {
		t.Errorf("window %+v", got)
	}
	if got := claims(full, Options{Atomic: true}).Batch; got != core.AtomicBatch {
		t.Errorf("batches are %v", got)
	}
	if got := claims(full, Options{Lanes: true}); got.Ranking != core.Weighted || got.PriorityLevels != 3 {
		t.Errorf("priorities are %v with %d levels", got.Ranking, got.PriorityLevels)
	}
	if got := claims(full, Options{}).MaxPayload; got != 1<<20-1<<16 {
		t.Errorf("largest payload %d", got)
	}
}

func TestEveryPriorityHasALane(t *testing.T) {
	t.Parallel()
	m := mapping{lanes: true}
	got := ""
	for p := range 11 {
		got += m.lane(p) + " "
	}
	if want := "job low low low job job job job high high high "; got != want {
		t.Errorf("lanes %s", got)
	}
}

func TestSharesAreWeighted(t *testing.T) {
	t.Parallel()
	var w Worker
	for _, lane := range lanes {
		w.sources = append(w.sources, &source{kind: lane.kind, weight: lane.weight})
	}
	draw := func(n int, ready func(*source) bool) map[string]int {
		counts := map[string]int{}
		for range n {
			counts[w.next(ready).kind]++
		}
		return counts
	}
	all := func(*source) bool { return true }
	for round := range 20 { // smooth: each round of ten has all of them
		if got := draw(10, all); got[laneHigh] != 6 || got[laneNormal] != 3 || got[laneLow] != 1 {
			t.Errorf("round %d: %v", round, got)
		}
	}
	notHigh := func(s *source) bool { return s.kind != laneHigh }
	if got := draw(400, notHigh); got[laneHigh] != 0 || got[laneNormal] < 295 || got[laneNormal] > 305 {
		t.Errorf("without the high lane: %v", got)
	}
	if got := draw(100, all); got[laneHigh] < 55 || got[laneLow] < 5 {
		t.Errorf("with the high lane again: %v", got)
	}
	if s := w.next(func(*source) bool { return false }); s != nil {
		t.Errorf("%s was not ready", s.kind)
	}
}
