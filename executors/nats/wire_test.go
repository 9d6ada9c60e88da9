package natsexec

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/goairlock/airlock/core"
)

var work = core.DeclareTask[string]("test.work")

func intent(t *testing.T, opts ...core.Option) core.Intent {
	t.Helper()
	in, err := work.Intent("a", append([]core.Option{core.ID("id-1")}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// text is a message as a reader sees it.
func text(m *nats.Msg) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", m.Subject, m.Data)
	for _, k := range slices.Sorted(maps.Keys(m.Header)) {
		fmt.Fprintf(&b, "\n%s: %s", k, strings.Join(m.Header[k], " | "))
	}
	return b.String()
}

// What is on the wire is read by releases to come, and by the workers of others.
func TestTheMessagesOnTheWire(t *testing.T) {
	t.Parallel()
	now := time.Date(2100, 1, 2, 3, 4, 5, 0, time.UTC)
	at := now.Add(time.Hour + 6)
	const (
		id      = "\nNats-Msg-Id: id-1"
		plain   = "\nAirlock-Envelope: " + `{"v":1,"id":"id-1","max_attempts":25}`
		ofKey   = ".=glTDKakoUPbVOd03b0gW7g" // sha256 of "k", its first 16 bytes
		ofID    = ".~62bGI1cviipRZ84Bfe4FQQ" // of "id-1"
		nothing = "\nNats-Expected-Last-Subject-Sequence: 0"
	)
	for name, tc := range map[string]struct {
		lanes bool
		opts  []core.Option
		want  string
	}{
		"nothing": {want: `JOBS.job.default.test.work "a"` + plain + id},
		"queue":   {opts: []core.Option{core.Queue("mail_2-x")}, want: `JOBS.job.mail_2-x.test.work "a"` + plain + id},
		"high":    {lanes: true, opts: []core.Option{core.Priority(8)}, want: `JOBS.high.default.test.work "a"` + plain + id},
		"middle":  {lanes: true, opts: []core.Option{core.Priority(4)}, want: `JOBS.job.default.test.work "a"` + plain + id},
		"low":     {lanes: true, opts: []core.Option{core.Priority(3)}, want: `JOBS.low.default.test.work "a"` + plain + id},
		"delay": {opts: []core.Option{core.At(at)}, want: `JOBS.at.default.test.work` + ofID + ` "a"` +
			plain + nothing + id +
			"\nNats-Schedule: @at 2100-01-02T04:04:05.000000006Z\nNats-Schedule-Target: JOBS.job.default.test.work"},
		"a time that is past": {opts: []core.Option{core.At(now.Add(-time.Hour))}, want: `JOBS.job.default.test.work "a"` + plain + id},
		"what the worker reads": {
			opts: []core.Option{core.MaxAttempts(3), core.Backoff(core.Exponential(time.Second, time.Minute)), core.Timeout(time.Second / 2), core.Deadline(at)},
			want: `JOBS.job.default.test.work "a"` +
				"\nAirlock-Envelope: " + `{"v":1,"id":"id-1","max_attempts":3,"backoff":["1s","1m0s"],"timeout":"500ms","deadline":"2100-01-02T04:04:05.000000006Z"}` + id,
		},
		"unique": {opts: []core.Option{core.Unique("k")}, want: `JOBS.job.default.test.work` + ofKey + ` "a"` +
			"\nAirlock-Envelope: " + `{"v":1,"id":"id-1","max_attempts":25,"unique":"k"}` + nothing +
			"\nNats-Expected-Last-Subject-Sequence-Subject: JOBS.*.default.test.work" + ofKey + id},
		"unique and later": {lanes: true, opts: []core.Option{core.Unique("k"), core.At(at), core.Priority(10)}, want: `JOBS.at.default.test.work` + ofKey + ` "a"` +
			"\nAirlock-Envelope: " + `{"v":1,"id":"id-1","max_attempts":25,"unique":"k"}` + nothing +
			"\nNats-Expected-Last-Subject-Sequence-Subject: JOBS.*.default.test.work" + ofKey + id +
			"\nNats-Schedule: @at 2100-01-02T04:04:05.000000006Z\nNats-Schedule-Target: JOBS.high.default.test.work" + ofKey},
		"headers": {opts: []core.Option{core.Header("Trace", "t 1"), core.Header("nats-msg-id", "mine"), core.Header("Edge", "x ")},
			want: `JOBS.job.default.test.work "a"` +
				"\nAirlock-Envelope: " + `{"v":1,"id":"id-1","max_attempts":25,"headers":{"Edge":"x ","nats-msg-id":"mine"}}` + id + "\nTrace: t 1"},
	} {
		in := intent(t, tc.opts...)
		m := mapping{stream: "JOBS", lanes: tc.lanes}
		var msg nats.Msg
		for range 2 { // a message is filled again and again
			m.toNative(&msg, &in, now)
			if got := text(&msg); got != tc.want {
				t.Errorf("%s:\n%s\nwant\n%s", name, got, tc.want)
			}
		}
	}
}

func TestAMessageFilledAgainKeepsNothingOfTheLast(t *testing.T) {
	t.Parallel()
	m := mapping{stream: "JOBS"}
	var msg nats.Msg
	first := intent(t, core.Unique("k"), core.Delay(time.Hour), core.Header("Trace", "1"), core.Timeout(time.Second))
	m.toNative(&msg, &first, time.Now())
	second := intent(t)
	m.toNative(&msg, &second, time.Now())
	if got, want := text(&msg), "JOBS.job.default.test.work \"a\"\nAirlock-Envelope: {\"v\":1,\"id\":\"id-1\",\"max_attempts\":25}\nNats-Msg-Id: id-1"; got != want {
		t.Errorf("%s", got)
	}
}

// A caller can choose any name: a subject has as many tokens as its names have, and none of them is a wildcard.
func FuzzNothingWidensASubject(f *testing.F) {
	for _, s := range []string{"a", "*", ">", "a.b", ".", " ", "=", "~", "\x00", "ä", "a\r\nb", strings.Repeat("x", 300)} {
		f.Add(s)
	}
	now := time.Now()
	f.Fuzz(func(t *testing.T, chosen string) {
		for _, opts := range [][]core.Option{
			{core.ID(chosen)}, {core.Unique(chosen)}, {core.ID(chosen), core.Delay(time.Hour)},
			{core.Unique(chosen), core.Delay(time.Hour)}, {core.Queue(chosen)}, {core.Queue(chosen), core.Delay(time.Hour)},
		} {
			in, err := work.Intent("a", opts...)
			if err != nil {
				continue // core refuses the name
			}
			m := mapping{stream: "JOBS", lanes: true}
			var msg nats.Msg
			m.toNative(&msg, &in, now)
			subjects := []string{msg.Subject}
			if target := msg.Header.Get(scheduleTargetHeader); target != "" {
				subjects = append(subjects, target)
			}
			for _, subject := range subjects {
				tokens := strings.Split(subject, ".")
				if len(tokens) < 5 || len(tokens) > 6 || strings.ContainsAny(subject, "*> \t\r\n\x00") || slices.Contains(tokens, "") {
					t.Errorf("%q leads to the subject %q", chosen, subject)
				}
			}
		}
	})
}
