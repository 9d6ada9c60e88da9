package core_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/goairlock/airlock/core"
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

// intents makes n intents of a plain task.
func intents(t testing.TB, n int) []core.Intent {
	t.Helper()
	list := make([]core.Intent, n)
	for i := range list {
		list[i] = must(plain.Intent(canary))(t)
	}
	return list
}

func states(outcomes []core.Outcome) string {
	words := make([]string, len(outcomes))
	for i, o := range outcomes {
		words[i] = o.State.String()
	}
	return strings.Join(words, ",")
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

func accept(context.Context, ...core.Intent) error { return nil }

func nop(context.Context, string) error { return nil }

var noCtx context.Context

// everything returns capabilities that accept every option.
func everything() core.Capabilities {
	caps := core.Capabilities{Executor: "all", Options: map[core.OptionName]core.Claim{core.OptionNative: {Support: core.SupportNative}}}
	for _, name := range core.PortableOptions() {
		caps.Options[name] = core.Claim{Support: core.SupportNative}
	}
	return caps
}

// hostile is an error type whose methods panic on a nil pointer.
type hostile struct{ cause error }

func (h *hostile) Error() string { return h.cause.Error() }
func (h *hostile) Unwrap() error { return h.cause }
