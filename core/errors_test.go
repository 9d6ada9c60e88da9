package core_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/goairlock/airlock/core"
)

func TestErrorsHaveThePrefixOnce(t *testing.T) {
	t.Parallel()
	bad := core.DeclareTask[int]("errors.default", core.Priority(0))
	_, err := bad.Intent(1)
	wantInvalid(t, err, "errors.default", "default", "priority")

	wantInvalid(t, bad.Validate(), "errors.default")

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

	_, err = decodeIntent([]byte(`{"v":1,"id":"a","task":"a.b","timeout":"-1s"}`))
	wantInvalid(t, err, "malformed intent", "timeout")

	err = (&core.Capabilities{}).CheckCall([]core.Intent{in})
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

func TestErrEarlierFailedIsNotSent(t *testing.T) {
	t.Parallel()
	ins := intents(t, 2)
	if !errors.Is(core.ErrEarlierFailed, core.ErrNotSent) || errors.Is(core.ErrEarlierFailed, core.ErrUnavailable) {
		t.Error("ErrEarlierFailed does not wrap ErrNotSent alone")
	}
	out := core.OutcomesOf(fmt.Errorf("deep: %w", core.ErrEarlierFailed), ins)
	if err := core.Combine(out); states(out) != "not sent,not sent" || !errors.Is(err, core.ErrEarlierFailed) || strings.Count(err.Error(), "airlock:") != 2 {
		t.Errorf("got %s: %v", states(out), err)
	}
}

func TestNoHandlerErrorNamesTheTask(t *testing.T) {
	t.Parallel()
	err := core.NoHandlerError("odd\x1b")
	if !errors.Is(err, core.ErrNoHandler) || errors.Is(err, core.ErrInvalid) || err.Error() != `airlock: no handler for task "odd?"` {
		t.Errorf("got %v", err)
	}
}

func TestSoundReplacesErrorsWhoseMethodsPanic(t *testing.T) {
	t.Parallel()
	if core.Sound(nil) != nil || core.Sound(io.EOF) != io.EOF {
		t.Error("a good error was replaced")
	}
	var p *core.PanicError
	for name, err := range map[string]error{
		"typed nil": (*hostile)(nil), "wrapped": fmt.Errorf("deep: %w", (*hostile)(nil)), "in a panic": &core.PanicError{Value: (*hostile)(nil), Stack: []byte("the stack")},
	} {
		got := core.Sound(err)
		if !errors.As(got, &p) || errors.Is(got, io.EOF) || len(p.Stack) == 0 {
			t.Errorf("%s: got %v", name, got)
		}
		if name == "in a panic" && string(p.Stack) != "the stack" {
			t.Errorf("%s: got the stack %s", name, p.Stack)
		}
	}
}
