package conformance

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Run is the suite as a test. Each check is a subtest with its ID as the name, and
// each case of a check a subtest of that. A check that did not run is skipped with
// its reason. A failure prints a line that repeats it:
//
//	go test -run '^TestConformance$/^P05$/^timeout$'
//
// The package comment lists the environment variables that it reads. It returns the
// report for further assertions.
func Run(t *testing.T, h Harness) *Report {
	t.Helper()
	c, err := choiceFromEnv(t, &h)
	if err == nil {
		err = usable(t.Context(), &h, c)
	}
	if err != nil {
		t.Fatal(err)
	}
	h.times = c.Effort
	began := time.Now()
	report := newReport(&h, c.Seed)
	var mu sync.Mutex
	h.hangs = func(r Result) {
		mu.Lock()
		defer mu.Unlock()
		report.Results = append(report.Results, r)
		report.finish()
		if dir := os.Getenv(envReport); dir != "" {
			report.save(dir) //nolint:errcheck // the process ends, and says why
		}
	}
	results := resultsFor(t, &h, c)
	parts := chosen(&h, c)
	for _, group := range grouped(parts) {
		t.Run(group[0].check.id, func(t *testing.T) {
			for _, p := range group {
				show := func(t *testing.T) {
					mu.Lock()
					report.keepUnfinished(os.Getenv(envReport), parts)
					mu.Unlock()
					r := results(t, p)
					mu.Lock()
					report.Results = append(report.Results, r)
					mu.Unlock()
					present(t, &r)
				}
				if p.caseOf == "" {
					show(t)
				} else {
					t.Run(p.caseOf, show)
				}
			}
		})
	}
	report.Env.WallMs = time.Since(began).Milliseconds()
	report.finish()
	if dir := os.Getenv(envReport); dir != "" {
		if err := report.save(dir); err != nil {
			t.Error(err)
		}
	}
	return report
}

func choiceFromEnv(t *testing.T, h *Harness) (Choice, error) {
	c := Choice{Bubble: t, Seed: rand.Uint64N(1_000_000_000) + 1}
	if s := os.Getenv(envSeed); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return c, fmt.Errorf("airlock: conformance: %s: %w", envSeed, err)
		}
		c.Seed = seed
	}
	for _, l := range strings.FieldsFunc(os.Getenv(envLevels), func(r rune) bool { return r == ',' }) {
		level := Level(strings.TrimSpace(l))
		if !slices.Contains([]Level{Core, Options, Faults, Inspect}, level) {
			return c, fmt.Errorf("airlock: conformance: %s: no level %q", envLevels, level)
		}
		c.Levels = append(c.Levels, level)
	}
	if s := os.Getenv(envEffort); s != "" {
		effort, err := strconv.Atoi(s)
		if err != nil || effort < 1 {
			return c, fmt.Errorf("airlock: conformance: %s: %q, want a number of at least 1", envEffort, s)
		}
		c.Effort = effort
	}
	if dir := os.Getenv(envReport); dir != "" {
		c.Dir = filepath.Join(dir, h.fileName()+"-histories")
	} else if a, ok := any(t).(interface{ ArtifactDir() string }); ok { // Go 1.26
		c.Dir = a.ArtifactDir()
	}
	return c, nil
}

// resultsFor returns the function that returns the result of a part. Checks mostly
// wait, so 16 run in parallel, also if -parallel is less. If -run chooses among the
// checks, or in a bubble, each runs when its result is asked for.
func resultsFor(t *testing.T, h *Harness, c Choice) func(*testing.T, part) Result {
	parts := chosen(h, c)
	if h.InBubble || h.Serial || someOnly() {
		return func(t *testing.T, p part) Result {
			c := c
			c.Bubble = t
			return judge(t.Context(), h, c, p)
		}
	}
	got := make([]chan Result, len(parts))
	for i := range got {
		got[i] = make(chan Result, 1)
	}
	finished := make(chan struct{})
	slots := make(chan struct{}, 16)
	go func() {
		defer close(finished)
		var wg sync.WaitGroup
		for _, alone := range []bool{false, true} {
			for i, p := range parts {
				if p.check.alone != alone {
					continue
				}
				slots <- struct{}{}
				run := func() {
					defer func() { <-slots }()
					got[i] <- judge(t.Context(), h, c, p)
				}
				if alone {
					run()
				} else {
					wg.Go(run)
				}
			}
			wg.Wait()
		}
	}()
	t.Cleanup(func() { <-finished })
	return func(t *testing.T, p part) Result {
		for i := range parts {
			if parts[i].check.id == p.check.id && parts[i].caseOf == p.caseOf {
				return <-got[i]
			}
		}
		return Result{ID: p.check.id, Case: p.caseOf, Verdict: Error, Reason: "the check was not chosen"}
	}
}

// someOnly reports whether -run or -skip choose among subtests.
func someOnly() bool {
	for _, name := range []string{"test.run", "test.skip"} {
		if f := flag.Lookup(name); f != nil && strings.Contains(f.Value.String(), "/") {
			return true
		}
	}
	return false
}

func grouped(parts []part) [][]part {
	var groups [][]part
	for _, p := range parts {
		if n := len(groups); n > 0 && groups[n-1][0].check.id == p.check.id {
			groups[n-1] = append(groups[n-1], p)
		} else {
			groups = append(groups, []part{p})
		}
	}
	return groups
}

func present(t *testing.T, r *Result) {
	t.Helper()
	t.Attr("conformance.verdict", string(r.Verdict))
	t.Attr("conformance.id", r.Name())
	t.Attr("conformance.level", string(r.Level))
	for _, line := range r.Log {
		t.Log(line)
	}
	switch r.Verdict {
	case Pass:
	case RefusedAsDeclared, NotApplicable:
		t.Logf("%s: %s", r.Verdict, r.Reason)
	case NotRun, Inconclusive, Waived:
		t.Skipf("%s %s: %s", r.Name(), r.Verdict, r.Reason)
	case Fail:
		r.Repro = r.repeat(exactly(t.Name()))
		t.Errorf("%s %s (%s)\n  want: %s\n  got:  %s\n  why it matters: %s\n  repeat: %s\n  seed %d, %+v",
			r.Name(), r.Title, r.Kind, r.Want, r.Got, r.Why, r.Repro, r.Seed, *r.Evidence)
	default:
		t.Errorf("%s %s: %s", r.Name(), r.Verdict, r.Reason)
	}
}

// repeat returns the command line that runs a check again.
func (r *Result) repeat(pattern string) string {
	line := fmt.Sprintf("%s=%d go test -run '%s'", envSeed, r.Seed, pattern)
	if r.effort > 1 {
		line = fmt.Sprintf("%s=%d %s", envEffort, r.effort, line)
	}
	return line
}

// exactly returns a -run pattern that matches only this test.
func exactly(name string) string {
	parts := strings.Split(name, "/")
	for i := range parts {
		parts[i] = "^" + parts[i] + "$"
	}
	return strings.Join(parts, "/")
}
