package core_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/goairlock/airlock/core"
)

func TestErrorsHaveThePrefixOnce(t *testing.T) {
	t.Parallel()
	bad := core.DeclareTask[int]("errors.default", core.Priority(0))
	_, err := bad.Intent(1)
	wantInvalid(t, err, "errors.default", "default", "priority")

	_, err = core.NewRegistry(core.Handle(bad, func(context.Context, int) error { return nil }))
	wantInvalid(t, err, "errors.default")

	task := core.DeclareTask[any]("errors.task")
	_, err = task.Intent(1, core.Queue("BAD"))
	wantInvalid(t, err, "errors.task", "BAD")
	_, err = task.Intent(make(chan int))
	wantInvalid(t, err, "errors.task", "chan int")

	in := must(task.Intent(1))(t)
	_, err = in.With(core.Timeout(-1))
	wantInvalid(t, err, "errors.task", "timeout")
	in.Options.Priority = 99
	wantInvalid(t, in.Validate(), "errors.task", "99")

	_, err = core.DecodeEnvelope([]byte(`{"v":1,"timeout":"-1s"}`))
	wantInvalid(t, err, "envelope", "timeout")

	err = core.Guard(core.Capabilities{}, accept)(t.Context(), in)
	wantInvalid(t, err, "errors.task", "99")
}

func TestOptionErrorNamesOptionAndExecutor(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"airlock: this executor refuses option id":              &core.OptionError{Option: core.OptionID},
		"airlock: nats refuses option priority":                 &core.OptionError{Option: core.OptionPriority, Executor: "nats"},
		"airlock: nats refuses option priority: it has no such": &core.OptionError{Option: core.OptionPriority, Executor: "nats", Reason: "it has no such"},
	} {
		if err.Error() != want || !errors.Is(err, core.ErrUnsupported) || errors.Is(err, core.ErrInvalid) {
			t.Errorf("got %q, want %q", err, want)
		}
	}
}

func TestPanicErrorUnwrapsToAnError(t *testing.T) {
	t.Parallel()
	if err := (&core.PanicError{Value: fmt.Errorf("deep: %w", io.EOF)}); !errors.Is(err, io.EOF) || err.Error() != "airlock: panic: deep: EOF" {
		t.Errorf("got %v", err)
	}
	if err := (&core.PanicError{Value: 7}); errors.Unwrap(err) != nil || err.Error() != "airlock: panic: 7" {
		t.Errorf("got %v", err)
	}
}

func TestErrUnavailableIsNotSent(t *testing.T) {
	t.Parallel()
	if !errors.Is(core.ErrUnavailable, core.ErrNotSent) {
		t.Error("ErrUnavailable does not wrap ErrNotSent")
	}
}
