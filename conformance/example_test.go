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
	harness := conformance.Harness{New: func(_ conformance.T, s conformance.Setup) conformance.System {
		exec := core.Each(caps, func(ctx context.Context, in core.Intent) error {
			return s.Registry.Perform(core.WithoutValues(ctx), in.Delivery()).Err
		})
		return conformance.System{Exec: exec, Caps: caps, Inline: true}
	}}
	report, err := conformance.Check(context.Background(), harness, conformance.Choice{Only: []string{"K01", "K03", "B02", "P01"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(report.Summary[conformance.Core], report.Failed())
	// Output: success []
}
