package asynqexec

import (
	"maps"
	"testing"
	"time"

	"github.com/goairlock/airlock/core"
)

// What travels beside the payload is read by releases to come.
func TestTheHeadersOnTheWire(t *testing.T) {
	t.Parallel()
	at := time.Date(2100, 1, 2, 15, 4, 5, 6, time.UTC)
	for name, tc := range map[string]struct {
		opts []core.Option
		want map[string]string
	}{
		"none":                   {nil, nil},
		"what asynq has a field": {[]core.Option{core.Timeout(time.Minute), core.MaxAttempts(3), core.Queue("mail"), core.ID("x"), core.Unique("k")}, nil},
		"a header":               {[]core.Option{core.Header("Trace", "")}, map[string]string{"Trace": ""}},
		"the rest": {
			[]core.Option{core.Deadline(at), core.Backoff(core.Exponential(time.Second, time.Minute)), core.Timeout(time.Second / 2), core.Header("Trace", "t1")},
			map[string]string{"Trace": "t1", "Airlock-Envelope": `{"v":1,"backoff":["1s","1m0s"],"timeout":"500ms","deadline":"2100-01-02T15:04:05.000000006Z"}`},
		},
	} {
		in, err := core.DeclareTask[int]("test.work").Intent(1, tc.opts...)
		if err != nil {
			t.Fatal(err)
		}
		if got := headersOf(&in); !maps.Equal(got, tc.want) || (got == nil) != (tc.want == nil) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestTimesAreRoundedUpToTheSecond(t *testing.T) {
	t.Parallel()
	base := time.Unix(1_800_000_000, 0)
	for _, d := range []time.Duration{0, 1, time.Millisecond, 999_999_999, time.Second, 1500 * time.Millisecond, longest} {
		at := base.Add(d)
		if up := nextSecond(at); up.Before(at) || up.Sub(at) >= time.Second || up.Nanosecond() != 0 {
			t.Errorf("%v becomes %v", at, up)
		}
		if up := wholeSeconds(d); up < d || up-d >= time.Second || up%time.Second != 0 {
			t.Errorf("%v becomes %v", d, up)
		}
		if end := base.Add(untilSecond(base.Add(300*time.Millisecond), d) + 300*time.Millisecond); end.Nanosecond() != 0 || end.Before(at) {
			t.Errorf("a wait of %v ends at %v", d, end)
		}
	}
}
