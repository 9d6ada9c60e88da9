package compose_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
)

// buffer is a log for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// captureDefaultLog replaces slog's default logger. A test that calls it must not
// be parallel.
func captureDefaultLog(t *testing.T) *buffer {
	t.Helper()
	b := new(buffer)
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug})))
	t.Cleanup(func() { slog.SetDefault(before) })
	return b
}

type record struct {
	Level, Msg                                              string
	Intents, Accepted, Duplicate, Rejected, Unknown, Failed int
	NotSent                                                 int  `json:"not_sent"`
	Duration                                                *int `json:"duration"`
	Undelivered                                             []map[string]string
}

// logged runs a call through WithLog and returns its record.
func logged(t *testing.T, level slog.Level, list []core.Intent, a ...answer) (record, string) {
	t.Helper()
	b := new(buffer)
	logger := slog.New(slog.NewJSONHandler(b, &slog.HandlerOptions{Level: level}))
	_ = compose.WithLog(scripted(a...).Execute, logger)(t.Context(), list...)
	var r record
	if b.String() != "" {
		if err := json.Unmarshal([]byte(b.String()), &r); err != nil {
			t.Fatalf("%v: %s", err, b)
		}
	}
	return r, b.String()
}

func TestLogHasCountsAndWhatWasNotDelivered(t *testing.T) {
	t.Parallel()
	list := intents(t, 5)
	list[4] = intent(t, 4, core.Queue("mail"))
	r, text := logged(t, slog.LevelDebug, list, states(core.Accepted, core.Duplicate, core.Accepted, core.Unknown, core.NotSent))
	if r.Level != "WARN" || r.Msg != "airlock: dispatch" || r.Intents != 5 || r.Accepted != 2 || r.Duplicate != 1 ||
		r.Unknown != 1 || r.NotSent != 1 || r.Duration == nil || strings.Contains(text, "rejected") {
		t.Errorf("logged %s", text)
	}
	if len(r.Undelivered) != 2 {
		t.Fatalf("undelivered: %v, want 2", r.Undelivered)
	}
	for key, want := range map[string]string{
		"task": "test.task", "id": list[4].ID, "queue": "mail", "state": "not sent", "error": errBackend.Error(),
	} {
		if got := r.Undelivered[1][key]; got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
}

func TestLogLevelFollowsTheWorstState(t *testing.T) {
	t.Parallel()
	for state, want := range map[core.State]string{
		core.Accepted: "DEBUG", core.Duplicate: "DEBUG", core.NotSent: "WARN", core.Unknown: "WARN",
		core.Rejected: "ERROR", core.Failed: "ERROR",
	} {
		if r, text := logged(t, slog.LevelDebug, intents(t, 1), states(state)); r.Level != want {
			t.Errorf("%v: %s, want %s", state, text, want)
		}
	}
	if _, text := logged(t, slog.LevelInfo, intents(t, 1)); text != "" {
		t.Errorf("a success was logged above Debug: %s", text)
	}
}

func TestLogNamesTwentyIntentsAtMost(t *testing.T) {
	t.Parallel()
	if r, _ := logged(t, slog.LevelDebug, intents(t, 50), fails(errBackend)); len(r.Undelivered) != 20 || r.Unknown != 50 {
		t.Errorf("%d named of %d, want 20 of 50", len(r.Undelivered), r.Unknown)
	}
}

func TestLogNeverShowsPayloadOrHeaders(t *testing.T) {
	t.Parallel()
	secret := core.DeclareTask[string]("test.secret")
	in, err := secret.Intent("hunter2", core.Header("Authorization", "hunter2"), core.NativeOption("x", "hunter2"))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []answer{states(core.Accepted), states(core.Rejected), fails(errBackend)} {
		if _, text := logged(t, slog.LevelDebug, []core.Intent{in}, a); text == "" || strings.Contains(text, "hunter2") || strings.Contains(text, "Authorization") {
			t.Errorf("logged %q", text)
		}
	}
}

func TestLogReportsRefusalsToo(t *testing.T) {
	t.Parallel()
	b := new(buffer)
	exec := compose.WithLog(nil, slog.New(slog.NewTextHandler(b, nil)))
	_ = exec(t.Context(), intents(t, 1)...)
	var none context.Context
	_ = exec(none, intents(t, 1)...)
	if n := strings.Count(b.String(), "rejected=1"); n != 2 {
		t.Errorf("%d refusals logged, want 2: %s", n, b)
	}
}

func TestNilLoggerIsTheDefaultAtTheTimeOfTheCall(t *testing.T) {
	exec := compose.WithLog(accept, nil)
	b := captureDefaultLog(t)
	if err := exec(t.Context(), intents(t, 1)...); err != nil || !strings.Contains(b.String(), "airlock: dispatch") {
		t.Errorf("logged %q, error %v", b, err)
	}
}

type panicking struct{ slog.Handler }

func (panicking) Handle(context.Context, slog.Record) error { panic("handler") }

func TestPanicOfTheLoggerKeepsTheOutcome(t *testing.T) {
	b := captureDefaultLog(t)
	bad := slog.New(panicking{slog.NewTextHandler(b, nil)})
	list := intents(t, 1)
	exec := compose.WithLog(scripted(states(core.Duplicate), states(core.NotSent)).Execute, bad)
	wantStates(t, exec(t.Context(), list...), list, core.Duplicate)
	wantStates(t, exec(t.Context(), list...), list, core.NotSent)
	if !strings.Contains(b.String(), "WithLog's logger panicked") {
		t.Errorf("the panic is not logged: %q", b)
	}
	slog.SetDefault(bad) // now the default logger panics too
	if err := exec(t.Context(), list...); err != nil {
		t.Error(err)
	}
}
