package adapter_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

func TestLogRunWritesOneLinePerRun(t *testing.T) {
	t.Parallel()
	d := worker.Delivery{
		ID: "id-1", Task: "test.plain", Queue: "mail", Attempt: 2, MaxAttempts: 5, Payload: []byte(canary), Native: canary,
		Headers: core.NewHeaders(map[string]string{"Authorization": canary}),
	}
	for _, c := range []struct {
		verdict       worker.Verdict
		level, msg    string
		errText, next any
	}{
		{worker.Verdict{Action: worker.Done}, "DEBUG", "airlock: job done", nil, nil},
		{worker.Verdict{Action: worker.Snoozed, After: time.Minute, Err: worker.Snooze(time.Minute)}, "DEBUG", "airlock: job snoozed", nil, 60e9},
		{worker.Verdict{Action: worker.Retry, After: 1500*time.Millisecond + 1, Err: io.EOF}, "WARN", "airlock: attempt failed", "EOF", 1500e6},
		{worker.Verdict{Action: worker.Retry, Err: io.EOF}, "WARN", "airlock: attempt failed", "EOF", nil},
		{worker.Verdict{Action: worker.Parked, Err: core.ErrNoHandler}, "WARN", "airlock: job parked", "no handler", nil},
		{worker.Verdict{Action: worker.Interrupted, Err: context.Canceled}, "WARN", "airlock: job put back", "context canceled", nil},
		{worker.Verdict{Action: worker.Dead, Err: io.EOF}, "ERROR", "airlock: job dead", "EOF", nil},
		{worker.Verdict{Action: worker.Dead, Err: fmt.Errorf("redis://:%s@host", canary)}, "ERROR", "airlock: job dead", "redis://***@host", nil},
		{worker.Verdict{Action: worker.Dead, Err: silent{}}, "ERROR", "airlock: job dead", "%!v(PANIC=Error method: no text)", nil},
	} {
		var b bytes.Buffer
		logger := slog.New(slog.NewJSONHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug}))
		adapter.LogRun(t.Context(), logger, worker.Run{Delivery: d, Verdict: c.verdict, Took: time.Second})
		var line map[string]any
		if err := json.Unmarshal(b.Bytes(), &line); err != nil || strings.Count(b.String(), "\n") != 1 {
			t.Fatalf("%v: logged %s, %v", c.verdict, b.String(), err)
		}
		delete(line, "time")
		want := map[string]any{"level": c.level, "msg": c.msg, "task": "test.plain", "id": "id-1", "queue": "mail", "attempt": 2.0, "took": 1e9}
		if c.errText != nil {
			want["error"] = c.errText
		}
		if c.next != nil {
			want["next"] = c.next
		}
		if !maps.Equal(line, want) {
			t.Errorf("%v: got %v, want %v", c.verdict, line, want)
		}
		if strings.Contains(b.String(), canary) {
			t.Errorf("%v: logged %s", c.verdict, b.String())
		}
	}
}

func TestLogRunKeepsLinesShort(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	err := errors.New(strings.Repeat("x", 100_000) + "\x00\xff")
	adapter.LogRun(t.Context(), slog.New(slog.NewTextHandler(&b, nil)), worker.Run{Verdict: worker.Verdict{Action: worker.Dead, Err: err}})
	if n := b.Len(); n < 2000 || n > 2300 || !strings.Contains(b.String(), "attempt=1 ") {
		t.Errorf("%d bytes: %.100s", n, b.String())
	}
}

func TestLogRunHonoursTheLevel(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelError}))
	for _, a := range []worker.Action{worker.Done, worker.Retry, worker.Snoozed, worker.Parked, worker.Interrupted} {
		adapter.LogRun(t.Context(), logger, worker.Run{Verdict: worker.Verdict{Action: a, Err: silent{}}})
	}
	if b.Len() > 0 {
		t.Errorf("logged %s", b.String())
	}
}

// It changes slog's default logger, and so is not parallel.
func TestLogRunWithoutALoggerUsesTheDefault(t *testing.T) {
	var b bytes.Buffer
	was := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&b, nil)))
	defer slog.SetDefault(was)
	adapter.LogRun(t.Context(), nil, worker.Run{Delivery: worker.Delivery{ID: "id-1"}, Verdict: worker.Verdict{Action: worker.Dead, Err: io.EOF}})
	fields := strings.Fields(b.String())
	if !slices.Contains(fields, "id=id-1") || !slices.Contains(fields, "error=EOF") {
		t.Errorf("logged %s", b.String())
	}
}

func TestABackendThatIsLostIsLoggedAlikeOnEveryQueue(t *testing.T) {
	t.Parallel()
	var got strings.Builder
	logger := slog.New(slog.NewTextHandler(&got, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	adapter.LogLost(logger, "work", slog.String("error", "refused"))
	adapter.LogBack(logger, "work")
	const want = `level=WARN msg="airlock: backend lost, trying again" executor=work error=refused
level=INFO msg="airlock: backend is back" executor=work
`
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
}
