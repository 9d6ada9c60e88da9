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
	"github.com/goairlock/airlock/conformance/internal/mutants"
)

var update = flag.Bool("update", false, "rewrite kills.txt with what was found; review the difference")

// findings are the results of the variants.
type findings struct {
	mu     sync.Mutex
	kills  map[string][]string // mutants by check
	killed map[string][]string // checks by mutant
	// Checks by mutant that failed only in the judgement at their end. They are not in
	// kills.txt, since a few rules kill many mutants in nearly every check, and would
	// hide what each check is for.
	endings map[string][]string
	// How many mutants the check with random histories finds. What a history finds
	// depends on details of the drawing, so only those of its own are in kills.txt.
	model int
}

// split returns the checks that failed by themselves, without those that a variant
// fails only sometimes, without the check with random histories unless it is the one
// that must find the variant, and those that failed in the judgement at their end.
func split(report *conformance.Report, v mutants.Variant) (failed, endings []string) {
	for _, r := range report.Results {
		switch {
		case r.Verdict != conformance.Fail || slices.Contains(v.Sometimes, r.ID) || r.ID == mutants.Model && v.Target != mutants.Model && !v.Legal():
		case r.Kind == conformance.Ending:
			endings = append(endings, r.ID)
		default:
			failed = append(failed, r.ID)
		}
	}
	slices.Sort(failed)
	slices.Sort(endings)
	return slices.Compact(failed), slices.Compact(endings)
}

// every says that each mutant meets every check, which takes minutes. Otherwise a mutant
// meets those that kill it according to kills.txt.
var every = os.Getenv("CONFORMANCE_EFFORT") != ""

// choice returns the checks that a variant meets.
func choice(v mutants.Variant) conformance.Choice {
	c := conformance.Choice{Levels: v.Levels, Seed: 1}
	if !every && !*update && !v.Legal() && v.Target != mutants.AnyEnding {
		c.Only = append(v.KilledBy(), v.Target)
	}
	return c
}

// try runs the checks of a variant.
func (f *findings) try(t *testing.T, v mutants.Variant) {
	h, c := v.Harness(), choice(v)
	if h.InBubble {
		c.Bubble = t
	}
	report, err := conformance.Check(t.Context(), h, c)
	if err != nil {
		t.Fatal(err)
	}
	failed, endings := split(report, v)
	// What a few random histories find depends on the seed.
	for seed := uint64(2); v.Target == mutants.Model && !slices.Contains(failed, mutants.Model) && seed <= 10; seed++ {
		again, err := conformance.Check(t.Context(), h, conformance.Choice{Only: []string{mutants.Model}, Seed: seed, Bubble: c.Bubble})
		if err != nil {
			t.Fatal(err)
		}
		more, _ := split(again, v)
		failed = append(failed, more...)
		slices.Sort(failed)
	}
	f.mu.Lock()
	for _, r := range report.Results {
		if !v.Legal() && r.ID == mutants.Model && r.Verdict == conformance.Fail {
			f.model++
		}
	}
	f.killed[v.Name] = failed
	f.endings[v.Name] = endings
	for _, id := range failed {
		f.kills[id] = append(f.kills[id], v.Name)
	}
	f.mu.Unlock()
	judge(t, v, report, failed, endings)
}

// TestKillMatrix runs the checks on every variant. Variants on a connection mostly
// wait, so several run at a time. They do not run together with those in bubbles,
// which would delay the network.
//
// With -short it is left out: `make alone` repeats the tests of a module with the
// versions in its go.mod, and the matrix uses no other module.
func TestKillMatrix(t *testing.T) {
	if testing.Short() {
		t.Skip("-short")
	}
	f := &findings{kills: map[string][]string{}, killed: map[string][]string{}, endings: map[string][]string{}}
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
	t.Logf("%s, the check with random histories, finds %d mutants", mutants.Model, f.model)
	for _, id := range checkIDs() {
		alone := slices.DeleteFunc(slices.Clone(f.kills[id]), func(name string) bool { return len(f.killed[name]) > 1 })
		t.Logf("%s kills %d: %q; only this check kills %q", id, len(f.kills[id]), f.kills[id], alone)
		switch reason := overlapping[id]; {
		case len(f.kills[id]) == 0:
			t.Errorf("check %s kills no mutant: nothing shows that it can fail", id)
		case len(alone) == 0 && reason == "":
			t.Errorf("check %s kills no mutant that no other check kills, and no reason is given", id)
		case len(alone) > 0 && reason != "":
			t.Errorf("only check %s kills %q: it does not overlap any more", id, alone)
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

// overlapping has the checks all of whose mutants other checks find too, and why.
var overlapping = map[string]string{
	"A04": "there are numbers in every payload, so A07 and A09 notice a float too",
	"A07": "a codec that changes one character changes the payloads of A09 and A13 as well",
	"A09": "it compares all bytes, and A01 and A04 compare some of them",
	"A12": "M01, F15 and T02 compare what every run of a job sees",
	"A13": "B08 has random options next to each other too, and A11 random headers",
	"B01": "B07 has the sizes around the usual limits",
	"B02": "B06 has the refused intent in more places of a larger batch",
	"B03": "what a batch loses is missing in A13's random batches too",
	"F06": "a job that does not come back after a crash is missing in F12 too",
	"I04": "an ID of a job that is done is part of M03's table",
	"I06": "I08 looks at the same window at more moments",
	"K01": "every check that waits for a job notices that it does not run",
	"K02": "every check that counts runs notices a second one",
	"K04": "T04 counts the runs of each ID that observers see",
	"K06": "a job that is confused with another one is missing in other checks too",
	"K08": "systems that share what is stored see each other's jobs in F12 too",
	"K09": "a job that needs a worker is missing in every check that holds the worker back",
	"K10": "the job's ID is part of what A13 and P03 compare",
	"L03": "L16 fills a pool too, with calls of several sizes",
	"L04": "M03 holds jobs in several slots while others run",
	"L07": "L13 stops each state of a system twice and at once",
	"L09": "L10 and F13 have jobs that run while a worker stops",
	"L10": "M02 and M03 replace the worker while jobs wait and run",
	"P01": "P20 notices a wrong claim too",
	"P02": "B08 compares what a job has whose options are not set, too",
	"P03": "an option that is lost next to another one is mostly lost without it too",
	"P04": "a wrapped permanent error is one of M02's answers",
	"P05": "P25 has the smallest and the largest durations",
	"P06": "M03 has jobs in a queue that no worker serves",
	"P07": "P23 ranks jobs without a priority together with the others",
	"P08": "P25 has the smallest and the largest delays",
	"P09": "P25 has times in 1960 and 2100 and in other zones",
	"P10": "P25 has the smallest and the largest numbers of attempts",
	"P11": "P25 has the smallest and the largest backoffs",
	"P19": "M03 has jobs with both an ID and a key at each stage",
	"P20": "P01 notices a wrong claim too",
	"T03": "middleware is the registry's: only a job that does not run escapes it",
	"V06": "V12 lists by task and by state too",
	"X06": "B05 needs the error of a context in a handler's error",
	"X07": "panics of every value and Goexit are among M02's answers",
}

func judge(t *testing.T, v mutants.Variant, report *conformance.Report, failed, endings []string) {
	want := slices.Sorted(slices.Values(v.KilledBy()))
	t.Logf("%s: %d further checks fail in the judgement at their end: %q", v.Name, len(endings), endings)
	if all := append(slices.Clone(failed), endings...); v.Legal() && len(all) > 0 {
		t.Errorf("%s (%s) is legal and was killed by %q\n%s", v.Name, v.Breaks, all, details(report, nil, all))
	}
	if v.Target == mutants.AnyEnding {
		if len(endings) == 0 {
			t.Errorf("%s (%s) was killed in the judgement at the end of no check", v.Name, v.Breaks)
		}
	} else if !v.Legal() && !slices.Contains(failed, v.Target) {
		t.Errorf("%s (%s) was not killed by %s, but by %q\n%s", v.Name, v.Breaks, v.Target, failed, details(report, []string{v.Target}, nil))
	}
	// A check of the list may fail only in the judgement at its end, if it has less time than usual.
	kills := slices.Clone(failed)
	for _, id := range endings {
		if slices.Contains(want, id) {
			kills = append(kills, id)
		}
	}
	slices.Sort(kills)
	if kills = slices.Compact(kills); !*update && !slices.Equal(kills, want) {
		t.Errorf("%s (%s)\n  must be killed by %q\n  was killed by     %q\n%s", v.Name, v.Breaks, want, kills, details(report, want, kills))
	}
	for _, r := range report.Results {
		odd := r.Verdict == conformance.Fail && r.Kind != conformance.Assertion && r.Kind != conformance.Ending
		if odd || r.Verdict == conformance.Error {
			t.Errorf("%s: %s ended as %s %s: %s%s", v.Name, r.Name(), r.Verdict, r.Kind, r.Got, r.Reason)
		}
	}
}

func rewrite(t *testing.T, killed map[string][]string) {
	var b strings.Builder
	b.WriteString("# Which checks kill which mutant. Written by: go test ./conformance/internal/mutants -update\n")
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
			fmt.Fprintf(&b, "    %s %s %s: want %s, got %.1500s %s\n", res.Name(), res.Verdict, res.Kind, res.Want, res.Got, res.Reason)
		}
	}
	return b.String()
}
