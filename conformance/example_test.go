package conformance_test

import (
	"context"
	"fmt"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
)

// adapter.Each makes an executor from a function. This one declares that it honours
// no option, and passes the checks of the level core.
func Example() {
	caps := core.Capabilities{Executor: "plain", DefaultAttempts: 1}
	harness := conformance.Harness{New: func(_ conformance.T, s conformance.Setup) conformance.System {
		exec := adapter.Each(caps, s.Registry.Run)
		return conformance.System{Exec: exec, Caps: caps, Inline: true}
	}}
	report, err := conformance.Check(context.Background(), harness, conformance.Choice{Levels: []conformance.Level{conformance.Core}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(report.Summary[conformance.Core], report.Failed())
	// Output: success []
}
