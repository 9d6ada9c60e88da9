package conformance_test

import (
	"context"
	"fmt"

	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
)

// A plain function becomes an executor with core.Each, and passes the profile
// of what it declares: here, no option at all.
func Example() {
	caps := core.Capabilities{Executor: "plain", DefaultAttempts: 1}
	harness := conformance.Harness{New: func(conformance.T, conformance.Setup) conformance.System {
		exec := core.Each(caps, func(ctx context.Context, in core.Intent) error { return in.Run(ctx) })
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
