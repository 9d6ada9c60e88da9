package adapter_test

import (
	"context"
	"errors"
	"testing"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

func TestEachFindsTheContextsErrorWhateverTheWorstStateIs(t *testing.T) {
	t.Parallel()
	task, errBackend := core.DeclareTask[int]("test.each"), errors.New("backend says no")
	for name, tt := range map[string]struct {
		err  error // of the second intent
		want core.State
	}{
		"unknown":  {errBackend, core.Unknown},
		"rejected": {core.ErrTooLarge, core.Rejected},
		"not sent": {core.ErrUnavailable, core.NotSent},
		"failed":   {nil, core.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			n := 0
			exec := adapter.Each(core.Capabilities{}, func(_ context.Context, in core.Intent) error {
				if n++; n == 1 {
					return nil
				}
				cancel()
				if tt.want == core.Failed {
					return core.Combine([]core.Outcome{in.Outcome(core.Failed, errBackend)})
				}
				return tt.err
			})
			var list []core.Intent
			for i := range 3 {
				in, err := task.Intent(i)
				if err != nil {
					t.Fatal(err)
				}
				list = append(list, in)
			}
			err := exec(ctx, list...)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("the context's error is not found: %v", err)
			}
			for i, want := range []core.State{core.Accepted, tt.want, core.NotSent} {
				if o := core.OutcomesOf(err, list)[i]; o.State != want {
					t.Errorf("intent %d is %v, want %v", i, o.State, want)
				}
			}
		})
	}
}

func TestAddContextErrorLeavesDefiniteAnswersAlone(t *testing.T) {
	t.Parallel()
	errBackend := errors.New("backend says no")
	ctx, cancel := context.WithCancel(t.Context())
	outcomes := func(states ...core.State) (out []core.Outcome) {
		for _, s := range states {
			out = append(out, core.Outcome{State: s, Err: errBackend})
		}
		return out
	}
	running := outcomes(core.Unknown, core.NotSent)
	adapter.AddContextError(ctx, running)
	cancel()
	definite := outcomes(core.Accepted, core.Failed, core.Rejected, core.Duplicate)
	adapter.AddContextError(ctx, definite)
	for _, o := range append(running, definite...) {
		if o.Err != errBackend {
			t.Errorf("%v: the error became %v", o.State, o.Err)
		}
	}
	bare := []core.Outcome{{State: core.NotSent}, {State: core.Duplicate}}
	adapter.AddContextError(ctx, bare)
	if bare[0].Err != context.Canceled || bare[1].Err != nil {
		t.Errorf("outcomes without errors became %v", bare)
	}
}
