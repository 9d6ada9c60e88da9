package mutants_test

import (
	"slices"
	"testing"

	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/conformance/internal/mutants"
)

// The checks whose verdict once depended on the settle time, or on who was faster,
// also pass outside a bubble with the harness's defaults.
func TestAPoolPassesOutsideABubbleWithTheDefaults(t *testing.T) {
	t.Parallel()
	all := mutants.All()
	pool := all[slices.IndexFunc(all, func(v mutants.Variant) bool { return v.Name == "bounded-pool" })]
	h := pool.Harness()
	h.InBubble = false
	report, err := conformance.Check(t.Context(), h, conformance.Choice{Only: []string{"L11", "L12", "B05/cancelled"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range report.Results {
		if r.Verdict != conformance.Pass {
			t.Errorf("%s: %s %s %s %s", r.Name(), r.Verdict, r.Want, r.Got, r.Reason)
		}
	}
}
