package asynqexec

import (
	"maps"
	"testing"
	"time"

	"github.com/goairlock/airlock/core"
)

// What is stored next to the payload is read by later releases.
func TestTheHeadersOnTheWire(t *testing.T) {
	t.Parallel()
	at := time.Date(2100, 1, 2, 15, 4, 5, 6, time.UTC)
	for name, tc := range map[string]struct {
		opts []core.Option
		want map[string]string
	}{
		"none":                       {nil, map[string]string{"Airlock-Envelope": `{"v":1,"max_attempts":25}`}},
		"what asynq has a field for": {[]core.Option{core.Queue("mail"), core.ID("x")}, map[string]string{"Airlock-Envelope": `{"v":1,"max_attempts":25}`}},
		"a unique key":               {[]core.Option{core.Unique("k")}, map[string]string{"Airlock-Envelope": `{"v":1,"max_attempts":25,"unique":"k"}`}},
		"max attempts":               {[]core.Option{core.MaxAttempts(3)}, map[string]string{"Airlock-Envelope": `{"v":1,"max_attempts":3}`}},
		"a time-out":                 {[]core.Option{core.Timeout(time.Minute)}, map[string]string{"Airlock-Envelope": `{"v":1,"max_attempts":25,"timeout":"1m0s"}`}},
		"a header":                   {[]core.Option{core.Header("Trace", "")}, map[string]string{"Trace": "", "Airlock-Envelope": `{"v":1,"max_attempts":25}`}},
		"the rest": {
			[]core.Option{core.Deadline(at), core.Backoff(core.Exponential(time.Second, time.Minute)), core.Timeout(time.Second / 2), core.Header("Trace", "t1")},
			map[string]string{"Trace": "t1", "Airlock-Envelope": `{"v":1,"max_attempts":25,"backoff":["1s","1m0s"],"timeout":"500ms","deadline":"2100-01-02T15:04:05.000000006Z"}`},
		},
	} {
		in, err := core.DeclareTask[int]("test.work").Intent(1, tc.opts...)
		if err != nil {
			t.Fatal(err)
		}
		if got := headersOf(&in); !maps.Equal(got, tc.want) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestAWaitEndsOnAFullSecond(t *testing.T) {
	t.Parallel()
	base := time.Unix(1_800_000_000, 0)
	for _, d := range []time.Duration{0, 1, time.Millisecond, 999_999_999, time.Second, 1500 * time.Millisecond, longest} {
		now := base.Add(300 * time.Millisecond)
		if end := now.Add(untilSecond(now, d)); end.Nanosecond() != 0 || end.Before(now.Add(d)) || end.Sub(now.Add(d)) >= time.Second {
			t.Errorf("a wait of %v ends at %v", d, end)
		}
	}
}
