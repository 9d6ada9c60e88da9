package core_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goairlock/airlock/core"
)

func TestWithoutValuesEndsWithItsParent(t *testing.T) {
	t.Parallel()
	type key struct{}
	synctest.Test(t, func(t *testing.T) {
		parent, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, 1), time.Minute)
		defer cancel()
		ctx := core.WithoutValues(parent)
		if ctx.Value(key{}) != nil {
			t.Error("a value shows")
		}
		if at, ok := ctx.Deadline(); !ok || time.Until(at) != time.Minute {
			t.Errorf("deadline %v, %v", at, ok)
		}
		child, end := context.WithCancel(ctx)
		defer end()
		timed, endTimed := context.WithTimeout(ctx, time.Hour)
		defer endTimed()
		ran := make(chan struct{})
		context.AfterFunc(child, func() { close(ran) })
		stop := context.AfterFunc(ctx, func() { t.Error("stopped, and yet it ran") })
		if !stop() || stop() {
			t.Error("stop does not report what it did")
		}
		<-timed.Done()
		<-child.Done()
		<-ran
		if child.Err() != context.DeadlineExceeded || time.Until(time.Now()) != 0 {
			t.Errorf("got %v", child.Err())
		}
		// synctest.Test fails on goroutines that are left: there is none per child.
	})
	background := core.WithoutValues(context.Background())
	child, end := context.WithCancel(background)
	if child.Err() != nil || background.Done() != nil {
		t.Error("a background ends")
	}
	end()
}

func TestWithoutValuesStartsNoGoroutinePerChild(t *testing.T) {
	t.Parallel()
	parent, cancel := context.WithCancel(t.Context())
	defer cancel()
	ctx := core.WithoutValues(parent)
	probe := &countingCtx{Context: ctx}
	child, end := context.WithCancel(probe)
	defer end()
	if probe.after.Load() != 1 {
		t.Errorf("the context package asked for AfterFunc %d times", probe.after.Load())
	}
	cancel()
	<-child.Done()
}

// countingCtx counts the calls of AfterFunc that its parent serves.
type countingCtx struct {
	context.Context
	after atomic.Int64
}

func (c *countingCtx) AfterFunc(f func()) func() bool {
	c.after.Add(1)
	return c.Context.(interface{ AfterFunc(func()) func() bool }).AfterFunc(f)
}

func TestCallReturnsOneOutcomePerIntent(t *testing.T) {
	t.Parallel()
	ins := intents(t, 2)
	var none core.Executor
	for name, c := range map[string]struct {
		exec core.Executor
		want string
		is   error
	}{
		"nil error":    {accept, "accepted,accepted", nil},
		"nil executor": {none, "rejected,rejected", core.ErrInvalid},
		"plain":        {func(context.Context, ...core.Intent) error { return io.EOF }, "unknown,unknown", io.EOF},
		"sentinel":     {func(context.Context, ...core.Intent) error { return core.ErrClosed }, "not sent,not sent", core.ErrClosed},
		"duplicate":    {func(context.Context, ...core.Intent) error { return fmt.Errorf("deep: %w", core.ErrDuplicate) }, "duplicate,duplicate", core.ErrDuplicate},
		"one of two": {func(_ context.Context, ins ...core.Intent) error {
			return core.Combine([]core.Outcome{{ID: ins[1].ID, State: core.Failed, Err: io.EOF}})
		}, "unknown,failed", core.ErrUnknownOutcome},
		"all accepted": {func(_ context.Context, ins ...core.Intent) error {
			return &core.DispatchError{Outcomes: core.Outcomes(ins, core.Accepted, nil)}
		}, "accepted,accepted", nil},
		"typed nil":   {func(context.Context, ...core.Intent) error { return (*hostile)(nil) }, "unknown,unknown", core.ErrUnknownOutcome},
		"panic":       {func(context.Context, ...core.Intent) error { panic(io.EOF) }, "unknown,unknown", io.EOF},
		"panic typed": {func(context.Context, ...core.Intent) error { panic((*hostile)(nil)) }, "unknown,unknown", core.ErrUnknownOutcome},
	} {
		err := c.exec.Call(t.Context(), ins)
		out := core.OutcomesOf(err, ins)
		if states(out) != c.want || (err == nil) != (c.is == nil) || !errors.Is(err, c.is) {
			t.Errorf("%s: got %s, %v", name, states(out), err)
		}
		var de *core.DispatchError
		if err != nil && (!errors.As(err, &de) || len(de.Outcomes) != 2 || de.Outcomes[0].Task != "test.plain" || de.Outcomes[1].ID != ins[1].ID) {
			t.Errorf("%s: got %#v", name, err)
		}
		var p *core.PanicError
		if strings.HasPrefix(name, "panic") && (!errors.As(err, &p) || !strings.Contains(string(p.Stack), "executor_test.go")) {
			t.Errorf("%s: got %v", name, err)
		}
		if name == "duplicate" && out[0].Err != core.ErrDuplicate {
			t.Errorf("%s: got %v", name, out[0].Err)
		}
	}
	if err := none.Call(t.Context(), nil); err != nil {
		t.Errorf("no intents: %v", err)
	}
}

func TestCallPassesContextAndIntents(t *testing.T) {
	t.Parallel()
	ins := intents(t, 2)
	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, 1)
	var exec core.Executor = func(got context.Context, list ...core.Intent) error {
		if got != ctx || len(list) != 2 || list[1].ID != ins[1].ID {
			t.Errorf("got %v", list)
		}
		return nil
	}
	if err := exec.Call(ctx, ins); err != nil {
		t.Error(err)
	}
}
