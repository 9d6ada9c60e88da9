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
		"none":                  {opts: nil},
		"zero":                  {opts: &Options{}},
		"a negative AckTimeout": {opts: &Options{AckTimeout: -time.Second}, want: "Options.AckTimeout of -1s"},
	} {
		got, err := tc.opts.orDefaults()
		checkOptions(t, name, err, tc.want)
		if err == nil && (got.AckTimeout <= 0 || got.Logger == nil) {
			t.Errorf("%s: something is unset in %+v", name, got)
		}
	}
	got, err := (&Options{AckTimeout: 7}).orDefaults()
	if err != nil || got.AckTimeout != 7 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestWorkerOptionsHaveBounds(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		opts *WorkerOptions
		want string // in the error; none if they are good
	}{
		"none":                     {opts: nil},
		"zero":                     {opts: &WorkerOptions{}},
		"the least AckWait":        {opts: &WorkerOptions{AckWait: time.Second}},
		"a short AckWait":          {opts: &WorkerOptions{AckWait: time.Second - 1}, want: "WorkerOptions.AckWait of 999.999999ms, want at least 1s"},
		"a negative AckWait":       {opts: &WorkerOptions{AckWait: -1}, want: "WorkerOptions.AckWait"},
		"no DrainTimeout":          {opts: &WorkerOptions{DrainTimeout: -1}},
		"a negative ParkFor":       {opts: &WorkerOptions{ParkFor: -1}, want: "WorkerOptions.ParkFor"},
		"negative concurrency":     {opts: &WorkerOptions{Concurrency: -1}, want: "WorkerOptions.Concurrency of -1"},
		"a fixed backoff":          {opts: &WorkerOptions{Backoff: core.Fixed(time.Second)}},
		"a backoff that shrinks":   {opts: &WorkerOptions{Backoff: core.Exponential(time.Minute, time.Second)}, want: "WorkerOptions.Backoff from 1m0s to 1s"},
		"a backoff without a wait": {opts: &WorkerOptions{Backoff: core.Exponential(0, time.Second)}, want: "WorkerOptions.Backoff"},
	} {
		got, err := tc.opts.orDefaults()
		checkOptions(t, name, err, tc.want)
		if err == nil && (got.AckWait < time.Second || got.ParkFor <= 0 || got.Concurrency <= 0 || got.Backoff.IsZero() || got.Logger == nil) {
			t.Errorf("%s: something is unset in %+v", name, got)
		}
	}
	given := WorkerOptions{AckWait: time.Hour, DrainTimeout: 8, ParkFor: 9, Concurrency: 3, Backoff: core.Fixed(5)}
	got, err := given.orDefaults()
	if err != nil || got.AckWait != time.Hour || got.DrainTimeout != 8 || got.ParkFor != 9 || got.Concurrency != 3 || got.Backoff != given.Backoff {
		t.Errorf("%+v became %+v, %v", given, got, err)
	}
}

func checkOptions(t *testing.T, name string, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (!errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), want)) {
		t.Errorf("%s: %v, want %q", name, err, want)
	}
}

func TestNativeQueueNames(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		names map[string]string
		want  string // in the error; none if they are good
	}{
		"none":                    {},
		"another name":            {names: map[string]string{"critical": "Critical", "default": "Jobs_1"}},
		"two swap":                {names: map[string]string{"a": "b", "b": "a"}},
		"two of one name":         {names: map[string]string{"a": "X", "b": "X"}, want: "queues a and b have one native name \"X\""},
		"the default's":           {names: map[string]string{"a": "default"}, want: "queue default has the native name of queue a"},
		"an empty name":           {names: map[string]string{"a": ""}, want: "native name \"\""},
		"a token too many":        {names: map[string]string{"a": "user.events"}, want: "user.events"},
		"a wildcard":              {names: map[string]string{"a": "*"}, want: "\"*\""},
		"a blank":                 {names: map[string]string{"a": "a b"}, want: "a b"},
		"a path":                  {names: map[string]string{"a": "a/b"}, want: "a/b"},
		"a lane's consumer":       {names: map[string]string{"a": "mail--high"}, want: "mail--high"},
		"a name that is too long": {names: map[string]string{"a": strings.Repeat("x", 65)}, want: "native name"},
		"no portable name":        {names: map[string]string{"A": "a"}, want: "\"A\" is no portable name"},
		"no name":                 {names: map[string]string{"": "a"}, want: "no portable name"},
	} {
		names, err := newQueueNames(tc.names)
		checkOptions(t, name, err, tc.want)
		if err != nil {
			continue
		}
		for portable, native := range tc.names {
			if got := names.Native(portable); got != native {
				t.Errorf("%s: %s is %s", name, portable, got)
			}
		}
	}
	names, err := newQueueNames(map[string]string{"a": "b"})
	if err != nil {
		t.Fatal(err)
	}
	if err := names.Check("b"); !errors.Is(err, core.ErrInvalid) { // it would share a's subjects
		t.Errorf("queue b: %v", err)
	}
	if err := names.Check("a"); err != nil {
		t.Error(err)
	}
}

// What a stream allows is what is claimed.
func TestClaimsFollowTheStream(t *testing.T) {
	t.Parallel()
	level := func(n string) map[string]string { return map[string]string{"_nats.level": n} }
	full := jetstream.StreamConfig{Name: "JOBS", Duplicates: time.Hour, AllowMsgSchedules: true, AllowAtomicPublish: true, Metadata: level("2")}
	bare := jetstream.StreamConfig{Name: "JOBS", Duplicates: time.Minute, Metadata: level("1")}
	old := jetstream.StreamConfig{Name: "JOBS", Duplicates: time.Minute}
	claims := func(cfg jetstream.StreamConfig, o Options) core.Capabilities {
		return capabilities(streamInfo{Config: cfg}, o, &mapping{stream: "JOBS", lanes: o.Lanes}, 1<<20)
	}
	for name, tc := range map[string]struct {
		caps    core.Capabilities
		refused []core.OptionName
	}{
		"all":               {claims(full, Options{Lanes: true}), nil},
		"without lanes":     {claims(full, Options{}), []core.OptionName{core.OptionPriority}},
		"without schedules": {claims(bare, Options{Lanes: true}), []core.OptionName{core.OptionDelay}},
		"server 2.10":       {claims(old, Options{Lanes: true}), []core.OptionName{core.OptionDelay, core.OptionUnique}},
	} {
		refused := map[core.OptionName]bool{}
		for _, o := range tc.refused {
			refused[o] = true
		}
		for _, o := range core.PortableOptions() {
			claim := tc.caps.Options[o]
			if (claim.Support == core.SupportRefused) != refused[o] {
				t.Errorf("%s: %s is %v", name, o, claim.Support)
			}
			if claim.Support == core.SupportRefused && claim.Reason == "" {
				t.Errorf("%s: %s is refused without a reason", name, o)
			}
		}
	}
	if got := claims(full, Options{}).IDWindow; got.Kind != core.WindowFixed || got.For != time.Hour || got.Survives != core.SurvivalReconnect {
		t.Errorf("window %+v", got)
	}
	if got := claims(full, Options{Atomic: true}).AtomicBatch; !got {
		t.Errorf("batches are %v", got)
	}
	if got := claims(full, Options{Lanes: true}); got.Ranking != core.RankingWeighted || got.PriorityLevels != 3 {
		t.Errorf("priorities are %v with %d levels", got.Ranking, got.PriorityLevels)
	}
	if got := claims(full, Options{}).MaxPayload; got != 1<<20-1<<16 {
		t.Errorf("largest payload %d", got)
	}
	if got := claims(full, Options{}).DefaultAttempts; got != core.DefaultMaxAttempts {
		t.Errorf("%d attempts by default", got)
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
	var sources []*source
	for _, lane := range lanes {
		sources = append(sources, newSource("JOBS", "default", "default", lane.kind, lane.weight))
	}
	draw := func(n int, ready func(*source) bool) map[string]int {
		counts := map[string]int{}
		for range n {
			s := mostCredit(sources, ready)
			charge(sources, ready, s)
			counts[s.kind]++
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
	if s := mostCredit(sources, func(*source) bool { return false }); s != nil {
		t.Errorf("%s was not ready", s.kind)
	}
}
