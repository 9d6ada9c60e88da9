package worker_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// canary is the secret in payloads and header values of tests that look for leaks.
const canary = "c4n4ry"

var plain = core.DeclareTask[string]("test.plain")

func must[T any](v T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// wantInvalid checks that err is ErrInvalid, contains the names, has the package's
// prefix once and does not show the canary.
func wantInvalid(t testing.TB, err error, names ...string) {
	t.Helper()
	if !errors.Is(err, core.ErrInvalid) {
		t.Errorf("got %v, want ErrInvalid", err)
		return
	}
	text := err.Error()
	if !strings.HasPrefix(text, "airlock: ") || strings.Count(text, "airlock: ") != 1 {
		t.Errorf("%q: want the prefix once", text)
	}
	if strings.Contains(text, canary) {
		t.Errorf("%q shows arguments", text)
	}
	for _, name := range names {
		if !strings.Contains(text, name) {
			t.Errorf("%q does not name %q", text, name)
		}
	}
}

// hostile is an error type whose methods panic on a nil pointer.
type hostile struct{ cause error }

func (h *hostile) Error() string { return h.cause.Error() }
func (h *hostile) Unwrap() error { return h.cause }

var noCtx context.Context

// handler makes a registry with fn as the handler of its one task, test.work.
func handler(t testing.TB, fn func(ctx context.Context) error, parts ...worker.Part) *worker.Registry {
	t.Helper()
	work := worker.Handle(core.DeclareTask[int]("test.work"), func(ctx context.Context, _ int) error { return fn(ctx) })
	return must(worker.NewRegistry(append(parts, work)...))(t)
}

// work is a first delivery for handler, with changes.
func work(change func(*worker.Delivery)) worker.Delivery {
	d := worker.Delivery{ID: "id", Task: "test.work", Payload: []byte("1"), Attempt: 1}
	if change != nil {
		change(&d)
	}
	return d
}

// silent is an error whose Error panics.
type silent struct{}

func (silent) Error() string { panic("no text") }

const century = 100 * 365 * 24 * time.Hour
