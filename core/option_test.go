package core_test

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goairlock/airlock/core"
)

const century = 100 * 365 * 24 * time.Hour

func TestEveryOptionValueIsChecked(t *testing.T) {
	t.Parallel()
	now := time.Now()
	good := map[string]core.Option{
		"priority 1": core.Priority(1), "priority 10": core.Priority(10), "delay 1ns": core.Delay(1), "delay of a century": core.Delay(century),
		"at in the past": core.At(now.Add(-time.Hour)), "at 1678": core.At(time.Date(1678, 1, 1, 0, 0, 0, 0, time.UTC)), "at in a century": core.At(now.Add(century)),
		"one attempt": core.MaxAttempts(1), "most attempts": core.MaxAttempts(math.MaxInt), "fixed 1ns": core.Backoff(core.Fixed(1)),
		"backoff of a century": core.Backoff(core.Exponential(1, century)), "timeout 1ns": core.Timeout(1), "timeout of a century": core.Timeout(century),
		"deadline soon": core.Deadline(now.Add(time.Minute)), "deadline in a century": core.Deadline(now.Add(century)),
		"empty header": core.Header("K", ""), "header of U+FFFD": core.Header("K", "\ufffd \t~\u2028"), "largest header": core.Header("K", strings.Repeat("x", 32<<10-1)),
		"native": core.NativeOption("x", 0),
	}
	for name, opt := range good {
		if _, err := plain.Intent("", opt); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	bad := map[string]core.Option{
		"priority 0": core.Priority(0), "priority -1": core.Priority(-1), "priority 11": core.Priority(11), "priority min": core.Priority(math.MinInt), "priority max": core.Priority(math.MaxInt),
		"delay 0": core.Delay(0), "delay -1": core.Delay(-1), "delay max": core.Delay(math.MaxInt64), "delay min": core.Delay(math.MinInt64), "delay over a century": core.Delay(century + 1),
		"delay zero time": core.At(time.Time{}), "delay zero time elsewhere": core.At(time.Time{}.In(time.FixedZone("", 3600))), "delay at 1677": core.At(time.Date(1677, 1, 1, 0, 0, 0, 0, time.UTC)),
		"delay at year 2": core.At(time.Time{}.AddDate(1, 0, 0)), "delay at -292277022399": core.At(time.Unix(math.MinInt64, 0)), "delay at the end of time": core.At(time.Unix(1<<60, 0)),
		"delay at over a century": core.At(now.Add(century + time.Hour)), "delay at 9999": core.At(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)),
		"max-attempts 0": core.MaxAttempts(0), "max-attempts -1": core.MaxAttempts(-1), "max-attempts min": core.MaxAttempts(math.MinInt),
		"backoff zero": core.Backoff(core.BackoffPolicy{}), "backoff fixed 0": core.Backoff(core.Fixed(0)), "backoff -1": core.Backoff(core.Fixed(-1)),
		"backoff max < first": core.Backoff(core.Exponential(2, 1)), "backoff without max": core.Backoff(core.Exponential(1, 0)), "backoff over a century": core.Backoff(core.Exponential(1, century+1)),
		"timeout 0": core.Timeout(0), "timeout -1": core.Timeout(-1), "timeout max": core.Timeout(math.MaxInt64), "timeout min": core.Timeout(math.MinInt64),
		"deadline zero": core.Deadline(time.Time{}), "deadline past": core.Deadline(now.Add(-1)), "deadline over a century": core.Deadline(now.Add(century + time.Hour)),
		"deadline at the end of time": core.Deadline(time.Unix(1<<60, 0)),
		"header CR":                   core.Header("K", canary+"\r"), "header LF": core.Header("K", canary+"\n"), "header NUL": core.Header("K", canary+"\x00"), "header UTF-8": core.Header("K", canary+"\xff"),
		"headers in all": core.Header("K", strings.Repeat("x", 32<<10)), "header key": core.Header("", canary),
		"native without executor": core.NativeOption("", 1), "native without value": core.NativeOption("x", nil), "zero Option": {},
	}
	for name, opt := range bad {
		word := strings.Fields(name)[0]
		_, err := plain.Intent(canary, opt)
		wantInvalid(t, err, "test.plain", word)
		_, err = core.DeclareTask[int]("option.default", opt).Intent(1)
		if name != "deadline past" {
			wantInvalid(t, err, "option.default", word)
		}
		_, err = must(plain.Intent(canary))(t).With(opt)
		wantInvalid(t, err, "test.plain", word)
	}
}

func TestFieldsAreChecked(t *testing.T) {
	t.Parallel()
	in := must(plain.Intent(canary, core.Queue("mail")))(t)
	if err := in.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, set := range map[string]func(*core.Intent){
		"empty task": func(in *core.Intent) { in.Task = "" }, "task name": func(in *core.Intent) { in.Task = "a b" },
		"empty ID": func(in *core.Intent) { in.ID = "" }, "ID": func(in *core.Intent) { in.ID = "a b" },
		"queue": func(in *core.Intent) { in.Options.Queue = "A" }, "priority": func(in *core.Intent) { in.Options.Priority = -1 },
		"max-attempts": func(in *core.Intent) { in.Options.MaxAttempts = -1 }, "backoff": func(in *core.Intent) { in.Options.Backoff.Max = 1 },
		"timeout": func(in *core.Intent) { in.Options.Timeout = -1 }, "unique": func(in *core.Intent) { in.Options.Unique = "\n" },
		"delay": func(in *core.Intent) { in.Options.At = time.Unix(1<<60, 0) }, "deadline": func(in *core.Intent) { in.Options.Deadline = time.Unix(-1<<60, 0) },
		"zero Intent": func(in *core.Intent) { *in = core.Intent{} },
	} {
		bad := in
		set(&bad)
		wantInvalid(t, bad.Validate(), name)
		_, err := bad.With(core.Priority(1))
		wantInvalid(t, err, name)
		wantInvalid(t, bad.Run(t.Context()), name)
		wantInvalid(t, (core.Capabilities{}).Check(bad), name)
	}
}

func TestCallOptionsWinOverDefaults(t *testing.T) {
	t.Parallel()
	later := time.Now().Add(time.Hour)
	task := core.DeclareTask[string]("option.merge",
		core.Queue("low"), core.Queue("default"), core.Priority(2), core.MaxAttempts(3), core.Backoff(core.Fixed(time.Second)), core.Timeout(time.Second),
		core.Deadline(later), core.Unique("a"), core.Header("Kept", "1"), core.Header("Lost", "1"), core.NativeOption("x", 1))
	in := must(task.Intent(""))(t)
	want := core.Options{
		Queue: "default", Priority: 2, MaxAttempts: 3, Backoff: core.Fixed(time.Second), Timeout: time.Second, Deadline: later.Round(0).UTC(), Unique: "a",
	}
	if in.Options != want {
		t.Errorf("got %+v, want %+v", in.Options, want)
	}
	in = must(task.Intent("", core.Queue("first"), core.Queue("mail"), core.Priority(9), core.MaxAttempts(1), core.Backoff(core.Exponential(1, 2)), core.Timeout(2),
		core.Deadline(later.Add(1)), core.Unique("b"), core.Header("Lost", "2"), core.Header("lost", "3"), core.NativeOption("y", 2), core.NativeOption("x", 3)))(t)
	want = core.Options{
		Queue: "mail", Priority: 9, MaxAttempts: 1, Backoff: core.Exponential(1, 2), Timeout: 2, Deadline: later.Add(1).Round(0).UTC(), Unique: "b",
	}
	if in.Options != want {
		t.Errorf("got %+v, want %+v", in.Options, want)
	}
	if got := maps.Collect(in.Headers().All()); !maps.Equal(got, map[string]string{"Kept": "1", "Lost": "2", "lost": "3"}) {
		t.Errorf("got headers %v", got)
	}
	if x, y, z := in.Native("x"), in.Native("y"), in.Native("z"); !slices.Equal(x, []any{1, 3}) || !slices.Equal(y, []any{2}) || z != nil {
		t.Errorf("got native options %v %v %v", x, y, z)
	}
}

func TestDelayAndAtAreOneOption(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		at := now.Add(time.Hour)
		for name, c := range map[string]struct {
			defaults, opts []core.Option
			want           time.Time
		}{
			"delay":              {nil, []core.Option{core.Delay(time.Minute)}, now.Add(time.Minute)},
			"at":                 {nil, []core.Option{core.At(at)}, at},
			"later at":           {nil, []core.Option{core.Delay(time.Minute), core.At(at)}, at},
			"later delay":        {nil, []core.Option{core.At(at), core.Delay(time.Minute)}, now.Add(time.Minute)},
			"at over default":    {[]core.Option{core.Delay(time.Minute)}, []core.Option{core.At(at)}, at},
			"delay over default": {[]core.Option{core.At(at)}, []core.Option{core.Delay(time.Minute)}, now.Add(time.Minute)},
			"default delay":      {[]core.Option{core.Delay(time.Minute)}, nil, now.Add(time.Minute)},
			"past":               {nil, []core.Option{core.At(now.Add(-time.Hour))}, now.Add(-time.Hour)},
			"none":               {nil, nil, time.Time{}},
		} {
			in := must(core.DeclareTask[int]("option.delay", c.defaults...).Intent(1, c.opts...))(t)
			if !in.Options.At.Equal(c.want) || in.Options.At.Location() != time.UTC || in.Options.At != in.Options.At.Round(0) {
				t.Errorf("%s: got %v, want %v", name, in.Options.At, c.want)
			}
			with, err := must(core.DeclareTask[int]("option.delay", c.defaults...).Intent(1))(t).With(c.opts...)
			if err != nil || !with.Options.At.Equal(c.want) {
				t.Errorf("%s, with: got %v, want %v", name, with.Options.At, c.want)
			}
		}
		task := core.DeclareTask[int]("option.delay", core.Delay(time.Minute))
		time.Sleep(time.Hour)
		if in := must(task.Intent(1))(t); !in.Options.At.Equal(now.Add(time.Hour + time.Minute)) {
			t.Errorf("a default delay counts from %v, not from when the intent is made", in.Options.At.Add(-time.Minute))
		}
	})
}

func TestDeadlineIsAfterTheStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		for name, c := range map[string]struct {
			opts []core.Option
			good bool
		}{
			"now":           {[]core.Option{core.Deadline(now)}, false},
			"next":          {[]core.Option{core.Deadline(now.Add(1))}, true},
			"at the start":  {[]core.Option{core.At(now.Add(5)), core.Deadline(now.Add(5))}, false},
			"after it":      {[]core.Option{core.Deadline(now.Add(6)), core.Delay(5)}, true},
			"before it":     {[]core.Option{core.Deadline(now.Add(4)), core.Delay(5)}, false},
			"after a past":  {[]core.Option{core.At(now.Add(-5)), core.Deadline(now.Add(5))}, true},
			"past and past": {[]core.Option{core.At(now.Add(-5)), core.Deadline(now.Add(-4))}, false},
		} {
			_, err := plain.Intent("", c.opts...)
			if c.good != (err == nil) {
				t.Errorf("%s: %v", name, err)
			} else if err != nil {
				wantInvalid(t, err, "deadline")
			}
		}
		in := must(plain.Intent("", core.Deadline(now.Add(time.Minute))))(t)
		_, err := in.With(core.Delay(time.Hour))
		wantInvalid(t, err, "deadline")
		time.Sleep(time.Hour)
		if _, err := in.With(core.Queue("mail")); err != nil {
			t.Errorf("a deadline that has passed since: %v", err)
		}
		_, err = in.With(core.Delay(1))
		wantInvalid(t, err, "deadline")
		task := core.DeclareTask[int]("option.deadline", core.Deadline(now.Add(time.Minute)))
		_, err = task.Intent(1)
		wantInvalid(t, err, "option.deadline", "deadline", "past")
	})
}

func TestHeadersOfAnIntentAreLimitedInAll(t *testing.T) {
	t.Parallel()
	half := strings.Repeat("x", 16<<10-1)
	if _, err := plain.Intent("", core.Header("A", half), core.Header("B", half)); err != nil {
		t.Error(err)
	}
	if _, err := plain.Intent("", core.Header("A", half), core.Header("B", half), core.Header("B", half)); err != nil {
		t.Error(err)
	}
	_, err := plain.Intent("", core.Header("A", half), core.Header("B", half+"x"))
	wantInvalid(t, err, "headers", "32769")
	_, err = core.DeclareTask[int]("option.headers", core.Header("A", half)).Intent(1, core.Header("B", half), core.Header("C", ""))
	wantInvalid(t, err, "headers")
}

func TestHeadersAreASortedMap(t *testing.T) {
	t.Parallel()
	h := core.NewHeaders(map[string]string{"b": "2", "a": "1", "C": "", "any thing\n": "\xff"})
	if got := fmt.Sprint(slices.Collect(maps.Keys(maps.Collect(h.All())))); len(got) == 0 || h.Len() != 4 || h.Size() != 1+1+1+1+1+10+1 {
		t.Errorf("got %v, %d, %d", got, h.Len(), h.Size())
	}
	var keys []string
	for k := range h.All() {
		keys = append(keys, k)
		if len(keys) == 3 {
			break
		}
	}
	if !slices.Equal(keys, []string{"C", "a", "any thing\n"}) {
		t.Errorf("got %q", keys)
	}
	if h.Get("a") != "1" || h.Get("A") != "" || h.Has("A") || !h.Has("C") || h.Get("C") != "" {
		t.Error("keys are not case-sensitive")
	}
	var none core.Headers
	if none.Len() != 0 || none.Size() != 0 || none.Has("a") || none.Get("a") != "" || core.NewHeaders(nil).Len() != 0 || len(maps.Collect(none.All())) != 0 {
		t.Error("zero Headers are not empty")
	}
}

func TestBackoffDoublesUpToMax(t *testing.T) {
	t.Parallel()
	const s = time.Second
	for _, c := range []struct {
		policy  core.BackoffPolicy
		attempt int
		want    time.Duration
	}{
		{core.Fixed(s), 1, s}, {core.Fixed(s), 2, s}, {core.Fixed(s), math.MaxInt, s}, {core.Fixed(s), 0, s}, {core.Fixed(s), math.MinInt, s},
		{core.Exponential(s, 10*s), 1, s}, {core.Exponential(s, 10*s), 2, 2 * s}, {core.Exponential(s, 10*s), 4, 8 * s}, {core.Exponential(s, 10*s), 5, 10 * s},
		{core.Exponential(s, 8*s), 4, 8 * s}, {core.Exponential(s, 8*s), 5, 8 * s},
		{core.Exponential(1, century), 63, century}, {core.Exponential(1, century), 61, 1 << 60}, {core.Exponential(1, century), math.MaxInt, century},
		{core.Exponential(century, century), 3, century}, {core.Exponential(1, math.MaxInt64), math.MaxInt, math.MaxInt64}, {core.Exponential(1, math.MaxInt64), 63, 1 << 62},
		{core.BackoffPolicy{}, 1, 0}, {core.BackoffPolicy{}, math.MaxInt, 0}, {core.BackoffPolicy{Max: s}, math.MaxInt, 0}, {core.BackoffPolicy{First: -1, Max: s}, math.MaxInt, 0},
		{core.BackoffPolicy{First: s, Max: -1}, math.MaxInt, 0},
	} {
		if got := c.policy.Wait(c.attempt); got != c.want {
			t.Errorf("%+v after %d: got %v, want %v", c.policy, c.attempt, got, c.want)
		}
	}
}

func FuzzOptions(f *testing.F) {
	f.Add(int64(1), int64(1), int64(1), int64(1), int64(1), int64(1))
	f.Add(int64(-1), int64(0), int64(math.MaxInt64), int64(math.MinInt64), int64(11), int64(century))
	f.Fuzz(func(t *testing.T, priority, delay, attempts, first, most, timeout int64) {
		within := func(v, low, high int64) bool { return v >= low && v <= high }
		for _, c := range []struct {
			opt  core.Option
			good bool
		}{
			{core.Priority(int(priority)), within(priority, 1, 10)},
			{core.Delay(time.Duration(delay)), within(delay, 1, int64(century))},
			{core.MaxAttempts(int(attempts)), attempts >= 1},
			{core.Backoff(core.Exponential(time.Duration(first), time.Duration(most))), first >= 1 && within(most, first, int64(century))},
			{core.Timeout(time.Duration(timeout)), within(timeout, 1, int64(century))},
		} {
			in, err := plain.Intent("", c.opt)
			if c.good != (err == nil) || err != nil && !errors.Is(err, core.ErrInvalid) {
				t.Errorf("%v: %v", c.opt, err)
			}
			if err == nil && in.Validate() != nil {
				t.Errorf("%v: made, but not valid: %v", c.opt, in.Validate())
			}
		}
		p := core.BackoffPolicy{First: time.Duration(first), Max: time.Duration(most)}
		if wait, next := p.Wait(int(attempts)), p.Wait(max(int(attempts), 1)); wait < 0 || wait > max(p.Max, 0) || wait != next {
			t.Errorf("%+v waits %v after %d", p, wait, attempts)
		}
		for _, at := range []time.Time{time.Unix(delay, timeout), time.Unix(0, delay)} {
			if in, err := plain.Intent("", core.At(at)); err == nil && !in.Options.At.Equal(time.Unix(0, in.Options.At.UnixNano())) {
				t.Errorf("%v overflows", in.Options.At)
			}
		}
	})
}

func FuzzHeaders(f *testing.F) {
	f.Add("A", "1", "B", "2", "A", "3")
	f.Add("", "\n", "Airlock-x", "", "\xff", "\xff")
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2, k3, v3 string) {
		want := map[string]string{}
		var opts []core.Option
		good, size := true, 0
		for _, h := range [][2]string{{k1, v1}, {k2, v2}, {k3, v3}} {
			opts = append(opts, core.Header(h[0], h[1]))
			want[h[0]] = h[1]
			good = good && goodHeaderKey(h[0]) && strings.ToValidUTF8(h[1], "") == h[1] && !strings.ContainsAny(h[1], "\r\n\x00")
			size += len(h[0]) + len(h[1])
		}
		in, err := plain.Intent("", opts...)
		if size <= 32<<10 && good != (err == nil) {
			t.Fatalf("%v", err)
		}
		h := core.NewHeaders(want)
		if err == nil {
			h = in.Headers()
		}
		var keys []string
		for k, v := range h.All() {
			keys = append(keys, k)
			if !h.Has(k) || h.Get(k) != v || want[k] != v {
				t.Errorf("%q: got %q, want %q", k, v, want[k])
			}
		}
		if len(keys) != len(want) || !slices.IsSorted(keys) || h.Len() != len(want) {
			t.Errorf("got keys %q", keys)
		}
	})
}
