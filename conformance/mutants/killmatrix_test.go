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

// findings are what the checks found of the variants.
type findings struct {
	mu     sync.Mutex
	kills  map[string][]string // mutants by check
	killed map[string][]string // checks by mutant
}

// try runs a variant through every check of its levels.
func (f *findings) try(t *testing.T, v mutants.Variant) {
	h := v.Harness()
	c := conformance.Choice{Levels: v.Levels, Seed: 1}
	if h.InBubble {
		c.Bubble = t
	}
	report, err := conformance.Check(t.Context(), h, c)
	if err != nil {
		t.Fatal(err)
	}
	failed := slices.DeleteFunc(report.Failed(), func(id string) bool { return slices.Contains(v.Sometimes, id) })
	f.mu.Lock()
	f.killed[v.Name] = failed
	for _, id := range failed {
		f.kills[id] = append(f.kills[id], v.Name)
	}
	f.mu.Unlock()
	judge(t, v, report, failed)
}

// TestKillMatrix runs every variant through every check. Those on a line
// mostly wait, so more of them run at a time, and not beside those in bubbles,
// which keep the processor from looking at the network.
func TestKillMatrix(t *testing.T) {
	f := &findings{kills: map[string][]string{}, killed: map[string][]string{}}
	t.Run("variants", func(t *testing.T) {
		t.Run("on a line", func(t *testing.T) {
			var all sync.WaitGroup
			slots := make(chan struct{}, 6)
			for _, v := range mutants.All() {
				if v.Harness().InBubble {
					continue
				}
				slots <- struct{}{}
				all.Go(func() {
					defer func() { <-slots }()
					t.Run(v.Name, func(t *testing.T) { f.try(t, v) })
				})
			}
			all.Wait()
		})
		for _, v := range mutants.All() {
			if v.Harness().InBubble {
				t.Run(v.Name, func(t *testing.T) {
					t.Parallel()
					f.try(t, v)
				})
			}
		}
	})
	if len(f.killed) < len(mutants.All()) {
		return // some were chosen with -run
	}
	if *update {
		rewrite(t, f.killed)
	}
	for _, id := range checkIDs() {
		alone := slices.DeleteFunc(slices.Clone(f.kills[id]), func(name string) bool { return len(f.killed[name]) > 1 })
		t.Logf("%s kills %d: %q; alone %q", id, len(f.kills[id]), f.kills[id], alone)
		switch reason := overlapping[id]; {
		case len(f.kills[id]) == 0:
			t.Errorf("check %s kills no mutant: nothing shows that it can fail", id)
		case len(alone) == 0 && reason == "":
			t.Errorf("check %s kills no mutant that no other kills, and it is not said why", id)
		case len(alone) > 0 && reason != "":
			t.Errorf("check %s kills %q alone: it does not overlap any more", id, alone)
		}
	}
}

func checkIDs() []string {
	var ids []string
	for _, c := range conformance.Checks() {
		ids = append(ids, c.ID)
	}
	return slices.Compact(ids)
}

// overlapping has the checks whose mutants other checks find as well, and what
// they are there for.
var overlapping = map[string]string{
	"A04": "numbers stand in every payload, so the round trips of A07 and A09 see a float too",
	"A07": "a codec that changes one character changes the payloads of A09 and A13 as well",
	"A09": "byte identity includes what A01 and A04 look at one by one",
	"K01": "every check that waits for a job notices that it does not run",
	"K02": "every check that counts runs notices a second one",
	"K06": "a job that is taken for another one is missing elsewhere too",
	"K09": "a job that needs a worker is missing wherever the worker is held back",
	"K10": "the job's ID is part of what A13 and P03 compare",
	"P01": "a claim that is wrong is wrong for P20, which asks it the other way round",
	"P03": "an option that is lost beside another one is lost by itself, mostly",
	"P20": "a claim that is wrong is wrong for P01, which tries each option",
	"T03": "middleware is the registry's: only a job that does not run escapes it",
}

func judge(t *testing.T, v mutants.Variant, report *conformance.Report, failed []string) {
	want := slices.Sorted(slices.Values(v.KilledBy()))
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
