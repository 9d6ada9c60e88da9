package riverexec

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

var task = core.DeclareTask[[]byte]("test.raw").Codec(core.Raw)

func intent(t testing.TB, payload string, opts ...core.Option) core.Intent {
	t.Helper()
	in, err := task.Intent([]byte(payload), opts...)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func TestMetadataAreAsEveryReleaseWroteThem(t *testing.T) {
	t.Parallel()
	deadline := time.Date(2090, 1, 2, 3, 4, 5, 6, time.UTC)
	in := intent(t, "{}", core.ID("order-1"), core.MaxAttempts(3), core.Backoff(core.Fixed(time.Second)),
		core.Timeout(1500*time.Millisecond), core.Deadline(deadline), core.Header("Trace", `a"b`))
	for _, tc := range []struct {
		others  string
		wrapped bool
		want    string
	}{
		{"", false, `}`},
		{"{}", false, `}`},
		{` { "a" : 1 } `, false, `,"a" : 1 }`},
		{`{"a":1}`, true, `,"airlock_wrap":"base64","a":1}`},
	} {
		want := `{"airlock":{"v":1,"id":"order-1","backoff":["1s","1s"],"timeout":"1.5s",` +
			`"deadline":"2090-01-02T03:04:05.000000006Z","headers":{"Trace":"a\"b"}}` + tc.want
		if got := string(metadata(&in, []byte(tc.others), tc.wrapped)); got != want {
			t.Errorf("with %q:\n%s, want\n%s", tc.others, got, want)
		}
	}
}

func TestUniqueKeysAreAsEveryReleaseWroteThem(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		fmt.Sprintf("%x", idKey("0199b3b2-7c4f-7e11-8a10-6f2c5d0e9b37")): "0199b3b27c4f7e118a106f2c5d0e9b37",
		fmt.Sprintf("%x", idKey("order-1")):                              "d2a4a88d2bc6abad994376d2707f1ca8660504b11b1fe2ab9b0f10b87aa9e90c",
		fmt.Sprintf("%x", uniqueKey("test.raw", "", "customer")):         "80503de62aa9404011aaab983f6c08b57dd5b85bf290bc81f0a80c1d34355b0f",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if !bytes.Equal(uniqueKey("a", "", "k"), uniqueKey("a", river.QueueDefault, "k")) {
		t.Error("no queue is River's default queue")
	}
	for _, id := range []string{"0199B3B2-7C4F-7E11-8A10-6F2C5D0E9B37", "0199b3b27c4f7e118a106f2c5d0e9b37", "0199b3b2_7c4f_7e11_8a10_6f2c5d0e9b37"} {
		if len(idKey(id)) != sha256.Size {
			t.Errorf("%s has the key of the UUID that it is not", id)
		}
	}
	if bytes.Equal(uniqueKey("a", "b", "ck"), uniqueKey("a", "bc", "k")) {
		t.Error("two keys collide")
	}
}

func TestUniqueStatesAreRiversOwnBits(t *testing.T) {
	t.Parallel()
	// As the function river_job_state_in_bitmask of River's migrations has them.
	bits := map[rivertype.JobState]byte{
		rivertype.JobStateAvailable: 1 << 0, rivertype.JobStateCancelled: 1 << 1, rivertype.JobStateCompleted: 1 << 2, rivertype.JobStateDiscarded: 1 << 3,
		rivertype.JobStatePending: 1 << 4, rivertype.JobStateRetryable: 1 << 5, rivertype.JobStateRunning: 1 << 6, rivertype.JobStateScheduled: 1 << 7,
	}
	var any, unfinished byte
	for _, state := range rivertype.JobStates() {
		any |= bits[state]
		switch state {
		case rivertype.JobStateCancelled, rivertype.JobStateCompleted, rivertype.JobStateDiscarded:
		default:
			unfinished |= bits[state]
		}
	}
	if any != anyState || unfinished != unfinishedState {
		t.Errorf("%b and %b, want %b and %b", anyState, unfinishedState, any, unfinished)
	}
}

func TestTimesAreRoundedUpToAMillisecond(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for in, want := range map[time.Duration]time.Duration{
		1: time.Millisecond, time.Millisecond: time.Millisecond, time.Millisecond + 1: 2 * time.Millisecond, time.Hour: time.Hour,
	} {
		if got := notBefore(now.Add(in), now); !got.Equal(now.Add(want)) {
			t.Errorf("%v becomes %v, want %v", in, got.Sub(now), want)
		}
	}
	for _, past := range []time.Time{{}, now, now.Add(-time.Hour)} {
		if got := notBefore(past, now); !got.IsZero() {
			t.Errorf("%v becomes %v, want none", past, got)
		}
	}
}

func TestACallIsCutIntoStatementsOfLimitedSize(t *testing.T) {
	t.Parallel()
	var intents []core.Intent
	for _, n := range []int{10, 10, 5000, 10} {
		intents = append(intents, intent(t, strings.Repeat("1", n)))
	}
	for limit, want := range map[int]int{1: 1, 600: 2, 5900: 3, 1 << 20: 4} {
		if got := chunk(intents, limit); got != want {
			t.Errorf("%d intents in %d bytes, want %d", got, limit, want)
		}
	}
}

func TestCapabilitiesRefuseWhatNoClaimCanSay(t *testing.T) {
	t.Parallel()
	caps := capabilities(Options{}, adapter.QueueNames{}, "postgres")
	for name, tc := range map[string]struct {
		in   core.Intent
		want error
	}{
		"an ID with a unique key":       {intent(t, "1", core.ID("a"), core.Unique("k")), core.ErrUnsupported},
		"what is not JSON":              {intent(t, "secret"), core.ErrInvalid},
		"too many attempts":             {intent(t, "1", core.MaxAttempts(40000)), core.ErrUnsupported},
		"another executor's option":     {intent(t, "1", core.NativeOption("asynq", 1)), core.ErrUnsupported},
		"a strange value for ours":      {intent(t, "1", core.NativeOption(name, 1)), core.ErrInvalid},
		"a tag that River refuses":      {intent(t, "1", Native(func(o *river.InsertOpts) { o.Tags = []string{"a b"} })), core.ErrInvalid},
		"an unknown unique state":       {intent(t, "1", Native(func(o *river.InsertOpts) { o.UniqueOpts.ByState = []rivertype.JobState{"x"} })), core.ErrInvalid},
		"unique by kind alone":          {intent(t, "1", Native(func(o *river.InsertOpts) { o.UniqueOpts.ExcludeKind = true })), core.ErrInvalid},
		"unique by arguments of none":   {intent(t, "1", Native(func(o *river.InsertOpts) { o.UniqueOpts.ByArgs = true })), core.ErrInvalid},
		"metadata that jsonb refuses":   {intent(t, "1", Native(func(o *river.InsertOpts) { o.Metadata = []byte(`{"a":"\u0000"}`) })), core.ErrInvalid},
		"a payload of a byte too much":  {intent(t, strings.Repeat("1", maxPayload+1)), core.ErrTooLarge},
		"a native option that is no-op": {intent(t, "1", Native(func(*river.InsertOpts) {})), nil},
		"an ID alone":                   {intent(t, "1", core.ID("a")), nil},
	} {
		err := caps.Check(tc.in)
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error shows the payload: %v", name, err)
		}
	}
	if _, err := task.Intent(nil, Native(nil)); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("a nil function: %v", err)
	}
}

func FuzzUnfitNeverPanics(f *testing.F) {
	for _, s := range []string{"", "1", `"\ud83d\ude00"`, `"\u0000"`, `[1e5,-0.1E-9]`, `{"a":"\\"}`, "[[[["} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		for _, db := range []database{sqlite, "postgres"} {
			db.unfit(payload)
		}
	})
}
