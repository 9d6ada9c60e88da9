package conformance_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
)

// newExecutor is a whole executor: it runs each job at once, and takes the
// options that its capabilities claim.
func newExecutor(reg *core.Registry) (core.Executor, core.Capabilities) {
	caps := core.Capabilities{
		Executor: "mine",
		Options: map[core.OptionName]core.Claim{
			core.OptionTimeout:  {Support: core.Native, Granularity: 1},
			core.OptionDeadline: {Support: core.Native, Granularity: 1},
			core.OptionHeader:   {Support: core.Native},
		},
		Order:           core.FIFO,
		DefaultAttempts: 1,
	}
	run := func(ctx context.Context, in core.Intent) error {
		v := reg.Perform(core.WithoutValues(ctx), in.Delivery())
		if v.Action == core.Done {
			return nil
		}
		state := core.Failed
		if v.Unhandled() {
			state = core.Rejected
		}
		return core.Combine([]core.Outcome{{ID: in.ID, State: state, Err: v.Err}})
	}
	each := core.Each(caps, run)
	return core.Guard(caps, func(ctx context.Context, intents ...core.Intent) error {
		if err := reg.Check(intents...); err != nil { // a task that nobody can run
			return err
		}
		return each(ctx, intents...)
	}), caps
}

func TestConformance(t *testing.T) {
	conformance.Run(t, conformance.Harness{
		InBubble: true, // no network, no other process
		New: func(_ conformance.T, s conformance.Setup) conformance.System {
			exec, caps := newExecutor(s.Registry)
			return conformance.System{Exec: exec, Caps: caps, Inline: true}
		},
	})
}

func TestTheGuideShowsThisExecutor(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile("../docs/write-an-executor.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []struct{ file, from, to string }{
		{"example_executor_test.go", "// newExecutor is", "func TestTheGuide"},
		{"example_queue_test.go", "// send is the executor", "func (q *folder) put"},
		{"example_queue_test.go", "func TestConformanceOfAQueue", "\n// end"},
	} {
		source, err := os.ReadFile(shown.file)
		if err != nil {
			t.Fatal(err)
		}
		_, code, _ := strings.Cut(string(source), shown.from)
		code, _, _ = strings.Cut(shown.from+code, shown.to)
		for _, part := range strings.SplitAfter(code, "\n}\n") {
			if part = strings.TrimSpace(part); !strings.Contains(string(guide), part) {
				t.Errorf("docs/write-an-executor.md does not show:\n%s", part)
			}
		}
	}
}
