package riverexec

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

func nopHandler(context.Context, []byte) error { return nil }

// hostileMetadata are metadata that no release of ours has written.
var hostileMetadata = []struct {
	metadata string
	want     worker.Action
}{
	{`{"airlock":null}`, worker.Dead},
	{`{"airlock":1}`, worker.Dead},
	{`{"airlock":"v1"}`, worker.Dead},
	{`{"airlock":[]}`, worker.Dead},
	{`{"airlock":{}}`, worker.Dead},
	{`{"airlock":{"v":"1"}}`, worker.Dead},
	{`{"airlock":{"v":-1}}`, worker.Dead},
	{`{"airlock":{"v":1,"id":1}}`, worker.Dead},
	{`{"airlock":{"v":1,"id":"a b"}}`, worker.Dead},
	{`{"airlock":{"v":1,"timeout":5}}`, worker.Dead},
	{`{"airlock":{"v":1,"timeout":"-5s"}}`, worker.Dead},
	{`{"airlock":{"v":1,"backoff":["1s"]}}`, worker.Dead},
	{`{"airlock":{"v":1,"deadline":"tomorrow"}}`, worker.Dead},
	{`{"airlock":{"v":1,"headers":{"K":1}}}`, worker.Dead},
	{`{"airlock":{"v":1},"airlock_wrap":1}`, worker.Dead},
	{`{"airlock":{"v":1},"airlock_wrap":null}`, worker.Dead},
	{`{"airlock":{"v":1},"airlock_wrap":true}`, worker.Dead},
	{`{"airlock":{"v":1},"airlock_wrap":["base64"]}`, worker.Dead},
	{`{"airlock":{"v":1},"airlock_wrap":{"how":"base64"}}`, worker.Dead},
	{`{"airlock":{"v":1},"airlock_wrap":""}`, worker.Dead},
	{`{"airlock":{"v":1},"airlock_wrap":"zstd"}`, worker.Dead},
	{`{"airlock":{"v":1},"airlock_wrap":"base64"}`, worker.Dead}, // the arguments are no string
	{`{"airlock_wrap":"base64"}`, worker.Dead},
	{`{"airlock":{"v":1,"deadline":"2020-01-02T03:04:05Z"},"airlock_wrap":1}`, worker.Dead},
	{`{"airlock":{"v":1,"deadline":"2020-01-02T03:04:05Z"}}`, worker.Dead},
	{`{"airlock":{"v":2}}`, worker.Parked},
	{`{"airlock":{"v":99,"id":[]}}`, worker.Parked},
	{`{"AIRLOCK":1,"Airlock_Wrap":1}`, worker.Done}, // another program's
	{`{"river:snoozes":"x","snoozes":[]}`, worker.Done},
	{`{}`, worker.Done},
	{`[]`, worker.Done},
	{`null`, worker.Done},
	{`1`, worker.Done},
	{``, worker.Done},
	{`{`, worker.Done},
}

func TestDamagedMetadataOfOursAreNeverAnotherPrograms(t *testing.T) {
	t.Parallel()
	w := &jobWorker{registry: registry(t, worker.Handle(task, nopHandler)), parkFor: time.Minute, rescueAfter: time.Hour}
	for _, tc := range hostileMetadata {
		row := &rivertype.JobRow{ID: 1, Kind: task.Name(), Metadata: []byte(tc.metadata), EncodedArgs: []byte(`{"n":1}`), Attempt: 1, MaxAttempts: 3}
		v := w.registry.Perform(t.Context(), w.deliveryOf(t.Context(), row, readEnvelope(row)))
		if v.Action != tc.want {
			t.Errorf("%s: %v (%v), want %v", tc.metadata, v.Action, v.Err, tc.want)
		}
	}
}

// When the last handler returns, the worker waits for none any more. Both are news to Work.
func TestTheAnswerOfTheLastHandlerCounts(t *testing.T) {
	t.Parallel()
	for range 5000 {
		began, release := make(chan struct{}), make(chan struct{})
		w := &jobWorker{
			registry: registry(t, worker.Handle(task, func(context.Context, []byte) error { close(began); <-release; return nil })),
			drain:    adapter.NewDrain(time.Minute), abandon: make(chan struct{}), logger: slog.New(slog.DiscardHandler), rescueAfter: time.Hour,
		}
		row := &rivertype.JobRow{ID: 1, Kind: task.Name(), Metadata: []byte(`{}`), EncodedArgs: []byte(`{"n":1}`), Attempt: 1, MaxAttempts: 3}
		result := make(chan error, 1)
		go func() { result <- w.Work(t.Context(), &river.Job[arguments]{JobRow: row}) }()
		<-began
		go func() {
			_ = w.drain.Stop()
			close(w.abandon)
		}()
		close(release)
		if err := <-result; err != nil {
			t.Fatal(err)
		}
	}
}

func TestVerdictsAreTheAnswersThatRiverTakes(t *testing.T) {
	t.Parallel()
	w := &jobWorker{parkFor: time.Minute}
	failure := errors.New("no luck")
	var cancelled *river.JobCancelError
	var snoozed *river.JobSnoozeError
	for _, tc := range []struct {
		name    string
		attempt int // of 3
		v       worker.Verdict
		cancel  bool
		snooze  time.Duration // -1 for none
	}{
		{"done", 1, worker.Verdict{}, false, -1},
		{"a failed attempt", 1, worker.Verdict{Action: worker.Retry, Err: failure}, false, -1},
		{"the last attempt", 3, worker.Verdict{Action: worker.Dead, Err: failure}, false, -1},
		{"dead before the last attempt", 1, worker.Verdict{Action: worker.Dead, Err: failure}, true, -1},
		{"permanent in the last attempt", 3, worker.Verdict{Action: worker.Dead, Err: worker.Permanent(failure)}, true, -1},
		{"snoozed", 3, worker.Verdict{Action: worker.Snoozed, After: 1500 * time.Microsecond}, false, 2 * time.Millisecond},
		{"parked in the last attempt", 3, worker.Verdict{Action: worker.Parked, Err: failure}, false, time.Minute},
		{"interrupted in the last attempt", 3, worker.Verdict{Action: worker.Interrupted, Err: failure}, false, 0},
	} {
		err := w.apply(&rivertype.JobRow{Attempt: tc.attempt, MaxAttempts: 3}, tc.v)
		if errors.As(err, &cancelled) != tc.cancel || errors.As(err, &snoozed) != (tc.snooze >= 0) {
			t.Errorf("%s: %v", tc.name, err)
		}
		if tc.snooze >= 0 && snoozed.Duration != tc.snooze {
			t.Errorf("%s: for %v, want %v", tc.name, snoozed.Duration, tc.snooze)
		}
		if (err == nil) != (tc.v.Action == worker.Done) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

func TestAnAttemptsErrorIsTextThatEveryDatabaseTakes(t *testing.T) {
	t.Parallel()
	err := &attemptError{errors.New("a\x00b\xff postgres://app:hunter2@db/x " + strings.Repeat("x", maxErrorText))}
	if text := err.Error(); strings.Contains(text, "\x00") || !utf8.ValidString(text) || strings.Contains(text, "hunter2") || len(text) > maxErrorText {
		t.Errorf("%d bytes: %.60q", len(text), text)
	}
	p := &attemptError{&core.PanicError{Value: "kaboom", Stack: []byte("the stack")}}
	if text := p.Error(); !strings.Contains(text, "kaboom") || !strings.Contains(text, "the stack") {
		t.Errorf("%q", text)
	}
}

func FuzzNoStoredJobMakesTheWorkerPanic(f *testing.F) {
	for _, tc := range hostileMetadata {
		f.Add([]byte(tc.metadata), []byte(`{"n":1}`), "test.raw", 1, 3)
	}
	f.Add([]byte(`{"airlock":{"v":1},"airlock_wrap":"base64"}`), []byte(`"AAECKg=="`), "test.raw", 4, 3)
	f.Add([]byte(`{}`), []byte("\xff"), "test.stranger", -1, 0)
	reg, err := worker.NewRegistry(worker.Handle(task, nopHandler))
	if err != nil {
		f.Fatal(err)
	}
	w := &jobWorker{registry: reg, parkFor: time.Minute, rescueAfter: time.Hour}
	f.Fuzz(func(t *testing.T, metadata, args []byte, kind string, attempt, most int) {
		row := &rivertype.JobRow{ID: 1, Kind: kind, Metadata: metadata, EncodedArgs: args, Attempt: attempt, MaxAttempts: most}
		j := &river.Job[arguments]{JobRow: row}
		w.Timeout(j)
		w.NextRetry(j)
		v := reg.Perform(t.Context(), w.deliveryOf(t.Context(), row, readEnvelope(row)))
		if err := w.apply(row, v); (err == nil) != (v.Action == worker.Done) {
			t.Errorf("%v is answered with %v", v.Action, err)
		}
		ours := strings.Contains(string(metadata), metadataKey)
		if e := readEnvelope(row); e.err != nil && !e.ours || e.ours && !ours && !strings.Contains(string(metadata), `\u`) {
			t.Errorf("envelope %+v", e)
		}
	})
}
