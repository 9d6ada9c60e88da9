package mutants_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/conformance/mutants"
)

var update = flag.Bool("update", false, "rewrite kills.txt with what was found; review the difference")

// TestKillMatrix runs every variant through every check.
func TestKillMatrix(t *testing.T) {
	var mu sync.Mutex
	kills := map[string][]string{}  // mutants by check
	killed := map[string][]string{} // checks by mutant
	t.Run("variants", func(t *testing.T) {
		for _, v := range mutants.All() {
			t.Run(v.Name, func(t *testing.T) {
				t.Parallel()
				report, err := conformance.Check(t.Context(), v.Harness(), conformance.Choice{Bubble: t, Seed: 1})
				if err != nil {
					t.Fatal(err)
				}
				failed := report.Failed()
				mu.Lock()
				killed[v.Name] = failed
				for _, id := range failed {
					kills[id] = append(kills[id], v.Name)
				}
				mu.Unlock()
				judge(t, v, report)
			})
		}
	})
	if len(killed) < len(mutants.All()) {
		return // some were chosen with -run
	}
	if *update {
		rewrite(t, killed)
	}
	for _, c := range conformance.Checks() {
		t.Logf("%s kills %d: %q", c.ID, len(kills[c.ID]), kills[c.ID])
		if len(kills[c.ID]) == 0 && notInMatrix[c.ID] == "" {
			t.Errorf("check %s kills no mutant: nothing shows that it can fail", c.ID)
		}
	}
}

// notInMatrix has the checks that no mutant here can reach, and why.
var notInMatrix = map[string]string{}

func judge(t *testing.T, v mutants.Variant, report *conformance.Report) {
	failed, want := report.Failed(), slices.Sorted(slices.Values(v.KilledBy()))
	if v.Legal() && len(failed) > 0 {
		t.Errorf("%s (%s) is legal and was killed by %q\n%s", v.Name, v.Breaks, failed, details(report, nil, failed))
	}
	if !v.Legal() && !slices.Contains(failed, v.Target) {
		t.Errorf("%s (%s) was not killed by %s, but by %q\n%s", v.Name, v.Breaks, v.Target, failed, details(report, []string{v.Target}, nil))
	}
	if !*update && !slices.Equal(failed, want) {
		t.Errorf("%s (%s)\n  is to be killed by %q\n  was killed by      %q\n%s", v.Name, v.Breaks, want, failed, details(report, want, failed))
	}
	for _, r := range report.Results {
		if r.Verdict == conformance.Fail && r.Kind != conformance.Assertion || r.Verdict == conformance.Error {
			t.Errorf("%s: %s ended as %s %s: %s%s", v.Name, r.Name(), r.Verdict, r.Kind, r.Got, r.Reason)
		}
	}
}

func rewrite(t *testing.T, killed map[string][]string) {
	var b strings.Builder
	b.WriteString("# Which checks kill which mutant. Written by: go test ./conformance/mutants -update\n")
	for _, v := range mutants.All() {
		if !v.Legal() {
			fmt.Fprintf(&b, "%s: %s\n", v.Name, strings.Join(killed[v.Name], " "))
		}
	}
	if err := os.WriteFile("kills.txt", []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

func details(r *conformance.Report, want, failed []string) string {
	var b strings.Builder
	for _, res := range r.Results {
		if slices.Contains(failed, res.ID) != slices.Contains(want, res.ID) {
			fmt.Fprintf(&b, "    %s %s %s: want %s, got %.300s %s\n", res.Name(), res.Verdict, res.Kind, res.Want, res.Got, res.Reason)
		}
	}
	return b.String()
}
