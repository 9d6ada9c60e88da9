package adapter_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

func TestRoundUp(t *testing.T) {
	t.Parallel()
	const s, ms = time.Second, time.Millisecond
	for _, c := range []struct{ d, unit, want time.Duration }{
		{0, s, 0}, {1, s, s}, {s, s, s}, {s + 1, s, 2 * s}, {1500 * ms, s, 2 * s}, {1500 * ms, ms, 1500 * ms}, {1, 1, 1}, {century, s, century}, {century - 1, s, century},
		{-1, s, 0}, {-s, s, -s}, {-1500 * ms, s, -s}, {1, time.Minute, time.Minute},
	} {
		if got := adapter.RoundUp(c.d, c.unit); got != c.want {
			t.Errorf("%v to %v: got %v, want %v", c.d, c.unit, got, c.want)
		}
	}
}

func TestRoundUpTime(t *testing.T) {
	t.Parallel()
	base := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		at   time.Time
		unit time.Duration
		want time.Time
	}{
		{base, time.Second, base}, {base.Add(1), time.Second, base.Add(time.Second)}, {base.Add(-1), time.Second, base}, {base.Add(1), time.Millisecond, base.Add(time.Millisecond)},
		{base.Add(time.Millisecond), time.Millisecond, base.Add(time.Millisecond)}, {base.Add(1), 1, base.Add(1)}, {base.Add(1), time.Microsecond, base.Add(time.Microsecond)},
		{time.Unix(-2, 1), time.Second, time.Unix(-1, 0)}, {time.Unix(0, -1), time.Second, time.Unix(0, 0)},
	} {
		got := adapter.RoundUpTime(c.at, c.unit)
		if !got.Equal(c.want) || got.Before(c.at) || got.UnixNano()%int64(c.unit) != 0 {
			t.Errorf("%v to %v: got %v, want %v", c.at, c.unit, got, c.want)
		}
	}
}

func TestLanes(t *testing.T) {
	t.Parallel()
	want := []adapter.Lane{
		adapter.LaneNormal, adapter.LaneLow, adapter.LaneLow, adapter.LaneLow, adapter.LaneNormal, adapter.LaneNormal, adapter.LaneNormal, adapter.LaneNormal,
		adapter.LaneHigh, adapter.LaneHigh, adapter.LaneHigh,
	}
	for priority, lane := range want {
		if got := adapter.LaneOf(priority); got != lane {
			t.Errorf("priority %d: got lane %d, want %d", priority, got, lane)
		}
	}
	if adapter.LaneOf(0) != adapter.LaneOf(adapter.DefaultPriority) || !(adapter.LaneLow < adapter.LaneNormal && adapter.LaneNormal < adapter.LaneHigh) {
		t.Error("the lanes are out of order")
	}
}

func TestHash(t *testing.T) {
	t.Parallel()
	seen := map[[sha256.Size]byte][]string{}
	for _, parts := range [][]string{nil, {""}, {"", ""}, {"a"}, {"a", ""}, {"", "a"}, {"ab", "c"}, {"a", "bc"}, {"abc"}, {"a", "b", "c"}, {"\x00\x00\x00\x00\x00\x00\x00\x01a"}} {
		h := adapter.Hash(parts...)
		if other, ok := seen[h]; ok {
			t.Errorf("%q and %q have the same hash", parts, other)
		}
		seen[h] = parts
		if adapter.Hash(parts...) != h {
			t.Errorf("%q has two hashes", parts)
		}
	}
	// Queues store it: a release must not change it.
	if got := fmt.Sprintf("%x", adapter.Hash("mail", "key"))[:16]; got != "1bfe08c4e5ec64b7" {
		t.Errorf("got %s", got)
	}
}

// silent is an error whose Error panics.
type silent struct{}

func (silent) Error() string { panic("no text") }

func TestErrorText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err   error
		limit int
		want  string
	}{
		{nil, 10, ""}, {io.EOF, 0, "EOF"}, {io.EOF, -1, "EOF"}, {io.EOF, 3, "EOF"}, {errors.New("abcd"), 4, "abcd"}, {errors.New("abcde"), 4, "a…"}, {errors.New("abcd"), 3, "…"},
		{errors.New("abcd"), 2, ""}, {errors.New("abcd"), 1, ""}, {errors.New("aäöü"), 6, "aä…"}, {errors.New("aäöü"), 5, "a…"}, {errors.New("ab\xff\xfec\x00d"), 0, "ab\ufffdc\ufffdd"},
		{errors.New(""), 1, ""}, {silent{}, 0, "%!v(PANIC=Error method: no text)"}, {(*hostile)(nil), 0, "<nil>"},
		{errors.New("dial redis://:" + canary + "@host:1/0: refused"), 0, "dial redis://***@host:1/0: refused"},
		{errors.New("dial redis://:" + canary + "@host"), 20, "dial redis://***@…"},
	} {
		if got := adapter.ErrorText(c.err, c.limit); got != c.want {
			t.Errorf("%v at most %d: got %q, want %q", c.want, c.limit, got, c.want)
		}
	}
	long := errors.New(strings.Repeat("😀", 1000) + "\xff")
	for limit := range 200 {
		if got := adapter.ErrorText(long, limit); limit > 0 && len(got) > limit || !utf8.ValidString(got) {
			t.Errorf("limit %d: got %d bytes, %q", limit, len(got), got)
		}
	}
}

func TestMaskURLs(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "", "no URL": "no URL", "me@example.com": "me@example.com", "a : / / b@c": "a : / / b@c", "://": "://", "x://": "x://", "x://@": "x://***@",
		"redis://host:6379/0":                              "redis://host:6379/0",
		"http://[::1]:80/a?b#c":                            "http://[::1]:80/a?b#c",
		"redis://:SECRET@host:port/0":                      "redis://***@host:port/0",
		"redis://SECRET@host":                              "redis://***@host",
		"amqp://user:SECRET@host:5672/v: refused":          "amqp://***@host:5672/v: refused",
		"nats://user:SEC/RET@host":                         "nats://***@host",
		"nats://user:SEC@RET@host":                         "nats://***@host",
		"nats://user:SEC?R#E/T@@host/x":                    "nats://***@host/x",
		"nats://user:SEC://RET@host":                       "nats://***@host",
		"nats://user:SEC'R`E\"T<>@host":                    "nats://***@host",
		`"nats://user:SECRET@host"`:                        `"nats://***@host"`,
		`parse "nats://u:SEC RET@host": bad x`:             `parse "nats://***@host": bad x`,
		`parse "nats://u:SEC \" RET@host": bad x`:          `parse "nats://***@host": bad x`,
		"parse 'nats://u:SEC RET@host': bad":               "parse 'nats://***@host': bad",
		"<nats://u:SEC RET@host> bad":                      "<nats://***@host> bad",
		`"nats://host" asked by me@x`:                      `"nats://host" asked by me@x`,
		"nats://a:SECRET@h1 and nats://b:SECRET@h2":        "nats://***@h1 and nats://***@h2",
		"nats://a:SECRET@h1\nnats://b:SECRET@h2\tx":        "nats://***@h1\nnats://***@h2\tx",
		"nats://h0 nats://b:SECRET@h2":                     "nats://h0 nats://***@h2",
		"nats://a:SECRET@h1,nats://b:SECRET@h2":            "nats://***@h2", // too much rather than too little
		"postgres://a:SECRET@h1,h2/db?x=1 is @ home":       "postgres://***@h1,h2/db?x=1 is @ home",
		"\xff://\xff:SECRET@\xfe":                          "\xff://***@\xfe",
		`invalid port "7"`:                                 `invalid port "7"`,
		`x://host: invalid port "7" after host`:            `x://host: invalid port "***" after host`,
		`parse "x://:SEC": invalid port ":SEC" after host`: `parse "x://:***": invalid port "***" after host`, // the password was SEC#RET
		`x://h invalid port ":a\"b" invalid port ":c" :c`:  `x://h invalid port "***" invalid port "***" :***`,
		`x://u:%zz@h: invalid URL escape "%zz"`:            `x://***@h: invalid URL escape "***"`,
		`x://u@h: invalid port "SECRET" after host`:        `x://***@h: invalid port "***" after host`,
		`x://u@h: invalid port "`:                          `x://***@h: invalid port "`,
	} {
		got := adapter.MaskURLs(text)
		if got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
		if again := adapter.MaskURLs(got); again != got {
			t.Errorf("%s: masked twice it is %s", got, again)
		}
	}
}

// The errors of net/url quote what they could not parse.
func TestMaskURLsInErrorsOfURLs(t *testing.T) {
	t.Parallel()
	for _, password := range []string{canary, canary + "/x", "x/" + canary, canary + "@", "@" + canary, canary + " x", canary + "\"x", canary + "%x", "%" + canary, canary + "\x7f", canary + "[", canary + "?", canary + "#"} {
		for _, format := range []string{"redis://:%s@host:port/0", "amqp://user:%s@host:5672/", "nats://user:%s@[::1", "http://user:%s@ho st/"} {
			_, err := url.Parse(strings.Replace(format, "%s", password, 1))
			if err == nil {
				continue
			}
			masked := adapter.Masked(err)
			if text := masked.Error(); strings.Contains(text, canary) || strings.Contains(text, canary[:3]) {
				t.Errorf("%q: got %s", password, text)
			}
			var ue *url.Error
			if !errors.As(masked, &ue) || !errors.Is(masked, err) {
				t.Errorf("%q: the cause is lost: %v", password, masked)
			}
		}
	}
}

func TestMasked(t *testing.T) {
	t.Parallel()
	if adapter.Masked(nil) != nil {
		t.Error("nil became an error")
	}
	for _, err := range []error{io.EOF, fmt.Errorf("redis://host: %w", io.EOF), &core.OptionError{Option: core.OptionID}} {
		if got := adapter.Masked(err); got != err {
			t.Errorf("%v became %v", err, got)
		}
	}
	cause := &core.OptionError{Option: core.OptionID}
	err := fmt.Errorf("dial redis://:%s@host: %w: %w", canary, io.EOF, cause)
	got := adapter.Masked(err)
	if got.Error() != "dial redis://***@host: EOF: "+cause.Error() {
		t.Errorf("got %v", got)
	}
	var refused *core.OptionError
	if !errors.Is(got, io.EOF) || !errors.Is(got, core.ErrUnsupported) || errors.Is(got, io.ErrClosedPipe) || !errors.As(got, &refused) || refused != cause || !errors.Is(got, err) {
		t.Errorf("%v does not match what it wraps", got)
	}
	if text := fmt.Sprintf("%v %+v %s", got, got, fmt.Errorf("deep: %w", got)); strings.Contains(text, canary) {
		t.Errorf("got %s", text)
	}
	if got := adapter.Masked(silent{}); got != error(silent{}) {
		t.Errorf("got %v", got)
	}
	// Guard keeps the state of a masked sentinel.
	down := adapter.Masked(fmt.Errorf("redis://:%s@host: %w", canary, core.ErrUnavailable))
	ins := intents(t, 1)
	if out := core.OutcomesOf(down, ins); states(out) != "not sent" || strings.Contains(out[0].Err.Error(), canary) {
		t.Errorf("got %v", out)
	}
}

func FuzzMaskURLs(f *testing.F) {
	f.Add("", "")
	f.Add("dial ", ": refused")
	f.Add(`parse "`, `": bad`)
	f.Add(`"a://b" '`, "' x")
	f.Add("a://b@c,", "/d@e f")
	f.Add(`x:/`, "invalid port \"")
	f.Add("\xff<", "://")
	f.Fuzz(func(t *testing.T, before, after string) {
		const secret = "s3cr3t-w0rd"
		if strings.Contains(before+after, secret) {
			return
		}
		for _, text := range []string{before, after} {
			got := adapter.MaskURLs(text)
			if !strings.Contains(text, "://") && got != text {
				t.Errorf("%q became %q", text, got)
			}
			if !strings.Contains(text, "@") && !strings.Contains(text, "invalid ") && got != text {
				t.Errorf("%q became %q", text, got)
			}
		}
		text := before + "redis://user:" + secret + "@host" + after
		got := adapter.MaskURLs(text)
		if strings.Contains(got, secret) || !strings.Contains(got, "***@") {
			t.Errorf("%q became %q", text, got)
		}
	})
}
