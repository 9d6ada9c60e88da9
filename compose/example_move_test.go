package compose_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
)

// moving sends a part of all intents to the new queue. What only one of the two
// queues would take is refused.
func moving(split *compose.Split) core.Executor {
	both, ok := core.Executor(split.Execute).Capabilities()
	if !ok {
		return split.Execute // one of the two is a plain function
	}
	return adapter.Guard(both, split.Execute)
}

func ExampleSplit_moveBetweenQueues() {
	old := adapter.Guard(core.Capabilities{Executor: "old", Options: map[core.OptionName]core.Claim{
		core.OptionDelay: {Support: core.SupportNative}, core.OptionUnique: {Support: core.SupportNative},
	}}, named("old"))
	next := adapter.Guard(core.Capabilities{Executor: "new", Options: map[core.OptionName]core.Claim{
		core.OptionDelay: {Reason: "the stream has no schedules"}, core.OptionUnique: {Support: core.SupportNative},
	}}, named("new"))
	split := compose.NewSplit(old, compose.Share{Percent: 1, To: next})
	exec := moving(split)
	dispatch(exec, 2, core.Unique("order-2"))

	if err := split.SetPercent(50); err != nil { // later, in the same process
		fmt.Println(err)
	}
	for order := range 3 {
		dispatch(exec, order, core.Unique(fmt.Sprint("order-", order)))
	}
	in, err := SendReceipt.Intent(3, core.Delay(time.Hour))
	if err == nil {
		err = exec.Check(context.Background(), in)
	}
	fmt.Println(err)
	// Output:
	// old: email.receipt 2
	// new: email.receipt 0
	// new: email.receipt 1
	// old: email.receipt 2
	// airlock: new+old refuses option delay: new: the stream has no schedules
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
