package conformance_test

import (
	"os"
	"strings"
	"testing"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// newExecutor returns an executor that runs each job before it returns. It honours
// the options that its capabilities claim.
func newExecutor(reg *worker.Registry) (core.Executor, core.Capabilities) {
	native := core.Claim{Support: core.SupportNative}
	caps := core.Capabilities{
		Executor: "mine",
		Options: map[core.OptionName]core.Claim{
			core.OptionTimeout: native, core.OptionDeadline: native, core.OptionHeader: native,
		},
		Order:           core.OrderFIFO,
		DefaultAttempts: 1, // there is no later run
	}
	return adapter.GuardHandlers(caps, reg, adapter.Each(caps, reg.Run)), caps
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

func TestTheGuideShowsThisCode(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile("../docs/write-an-executor.md")
	if err != nil {
		t.Fatal(err)
	}
	var sources strings.Builder
	for _, file := range []string{"example_executor_test.go", "example_queue_test.go", "example_worker_test.go", "example_harness_test.go"} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sources.Write(source)
	}
	shown := 0
	for block := range strings.SplitSeq(string(guide), "```go\n") {
		code, _, ok := strings.Cut(block, "\n```")
		if !ok || strings.HasPrefix(block, "# ") || strings.HasPrefix(code, "type Executor func") {
			continue
		}
		for _, part := range strings.SplitAfter(code, "\n}\n") {
			shown++
			if !strings.Contains(sources.String(), strings.TrimSpace(part)) {
				t.Errorf("docs/write-an-executor.md shows code that is in no example:\n%s", part)
			}
		}
	}
	if shown < 10 {
		t.Errorf("the guide shows %d pieces of code: they were not found", shown)
	}
}
