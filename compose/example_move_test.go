package compose_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
)

// moving sends a part of all intents to the new queue, and what only one of the
// two would take to neither.
func moving(before, after core.Executor, both core.Capabilities, percent float64) core.Executor {
	return core.Guard(both, compose.Split(before, compose.Share{Percent: percent, To: after}))
}

func ExampleSplit_moveBetweenQueues() {
	old := core.Capabilities{Executor: "old", Options: map[core.OptionName]core.Claim{
		core.OptionDelay: {Support: core.Native}, core.OptionUnique: {Support: core.Native},
	}}
	next := core.Capabilities{Executor: "new", Options: map[core.OptionName]core.Claim{
		core.OptionDelay: {Reason: "the stream has no schedules"}, core.OptionUnique: {Support: core.Native},
	}}
	exec := moving(named("old"), named("new"), compose.CommonCapabilities(old, next), 50)
	for order := range 3 {
		dispatch(exec, order, core.Unique(fmt.Sprint("order-", order)))
	}
	in, err := SendReceipt.Intent(3, core.Delay(time.Hour))
	if err == nil {
		err = compose.CommonCapabilities(old, next).Check(in)
	}
	fmt.Println(err)
	// Output:
	// new: email.receipt 0
	// new: email.receipt 1
	// old: email.receipt 2
	// airlock: old+new refuses option delay: new: the stream has no schedules
}

func TestTheGuideShowsTheExample(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile("../docs/move-between-queues.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("example_move_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(string(source), "// moving sends")
	code, _, _ = strings.Cut("// moving sends"+code, "\n}\n")
	if !strings.Contains(string(guide), code+"\n}\n") {
		t.Errorf("docs/move-between-queues.md does not show:\n%s", code)
	}
}
