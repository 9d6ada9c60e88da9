package conformance

import (
	"context"
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

// Choice says what [Check] is to run and what to keep. The zero value runs all
// levels with a random seed and keeps nothing.
type Choice struct {
	// Levels to run; none for all.
	Levels []Level
	// Only runs these checks alone: "P05", "P05/timeout". None for all.
	Only []string
	// Seed repeats an earlier run; 0 for a random one.
	Seed uint64
	// Effort multiplies the rounds and the durations of the checks that repeat what
	// they provoke, above all those of Faults; 0 is 1. What takes longer than the
	// effort is worth is not run, and says which effort it takes.
	Effort int
	// Parallel is how many checks run at a time; 0 is 16.
	Parallel int
	// Dir is where histories of failed checks are kept; "" for nowhere.
	Dir string
	// Bubble, if not nil, is the test in whose bubbles of testing/synctest the
	// checks of a harness that is InBubble are run.
	Bubble *testing.T
}

// The environment variables that [Run] reads.
const (
	envSeed   = "CONFORMANCE_SEED"   // repeats a run
	envLevels = "CONFORMANCE_LEVELS" // core,options,faults
	envEffort = "CONFORMANCE_EFFORT" // 1 for a quick run, 5 for a thorough one
	envReport = "CONFORMANCE_REPORT" // a folder for conformance.json and junit.xml
)

// Check runs the suite and reports. It needs no *testing.T, so that a program
// can use it. The error says that the harness or the choice is unusable; a
// failed check is not an error.
func Check(ctx context.Context, h Harness, c Choice) (*Report, error) {
	if err := usable(ctx, &h, c); err != nil {
		return nil, err
	}
	if c.Seed == 0 {
		c.Seed = rand.Uint64N(1_000_000_000) + 1
	}
	h.times = c.Effort
	began := time.Now()
	report := newReport(&h, c.Seed)
	jobs := chosen(&h, c)
	if len(jobs) == 0 {
		return nil, fmt.Errorf("airlock: conformance: no check is named %s", strings.Join(c.Only, ", "))
	}
	report.Results = runAll(ctx, &h, c, jobs)
	report.Env.WallMs = time.Since(began).Milliseconds()
	report.finish()
	return report, nil
}

func usable(ctx context.Context, h *Harness, c Choice) error {
	switch {
	case ctx == nil:
		return fmt.Errorf("airlock: conformance: nil context")
	case h.New == nil:
		return fmt.Errorf("airlock: conformance: Harness.New is nil")
	case c.Effort < 0:
		return fmt.Errorf("airlock: conformance: an effort of %d", c.Effort)
	}
	for _, w := range h.Waivers {
		if w.Check == "" || w.Reason == "" || w.Owner == "" || w.Issue == "" || w.Expires.IsZero() {
			return fmt.Errorf("airlock: conformance: waiver of %q: check, reason, owner, issue and expiry are all needed", w.Check)
		}
		if !known(w.Check) {
			return fmt.Errorf("airlock: conformance: waiver of %q: no such check", w.Check)
		}
	}
	for _, name := range c.Only {
		if !known(name) {
			return fmt.Errorf("airlock: conformance: no check is named %q", name)
		}
	}
	return nil
}

func known(name string) bool {
	id, caseOf, _ := strings.Cut(name, "/")
	return slices.ContainsFunc(table(), func(c check) bool {
		return c.id == id && (caseOf == "" || slices.Contains(c.cases, caseOf))
	})
}

// part is one case of one check.
type part struct {
	check  *check
	caseOf string
}

func (c *check) parts() []part {
	if len(c.cases) == 0 {
		return []part{{c, ""}}
	}
	var parts []part
	for _, name := range c.cases {
		parts = append(parts, part{c, name})
	}
	return parts
}

func chosen(h *Harness, c Choice) []part {
	levels := c.Levels
	if len(levels) == 0 {
		levels = []Level{Core, Options, Faults}
	}
	var parts []part
	for _, row := range table() {
		if !slices.Contains(levels, row.level) && len(c.Only) == 0 {
			continue
		}
		for _, p := range row.parts() {
			name := row.id + "/" + p.caseOf
			if len(c.Only) == 0 || slices.Contains(c.Only, row.id) || slices.Contains(c.Only, name) {
				parts = append(parts, p)
			}
		}
	}
	return parts
}

// runAll runs the parts, those that break connections one at a time at the end.
func runAll(ctx context.Context, h *Harness, c Choice, parts []part) []Result {
	results := make([]Result, len(parts))
	width := c.Parallel
	if width <= 0 {
		width = 16
	}
	if h.Serial || h.InBubble && c.Bubble != nil {
		width = 1
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, width)
	for i, p := range parts {
		if p.check.alone {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			results[i] = judge(ctx, h, c, p)
		})
	}
	wg.Wait()
	for i, p := range parts {
		if p.check.alone {
			results[i] = judge(ctx, h, c, p)
		}
	}
	return results
}

// judge runs a part, applies waivers and keeps the history of what failed.
func judge(ctx context.Context, h *Harness, c Choice, p part) Result {
	r := runCheck(ctx, h, p.check, p.caseOf, c.Seed, c.Bubble)
	if r.Verdict != Fail {
		return r
	}
	for i, w := range h.Waivers {
		if w.Check != r.ID && w.Check != r.Name() {
			continue
		}
		r.Waiver = &h.Waivers[i]
		if time.Now().Before(w.Expires) {
			r.Verdict, r.Reason = Waived, w.Reason
		} else {
			r.Reason = "its waiver has expired"
		}
	}
	r.effort = h.times
	r.Repro = r.repeat("^TestConformance/" + r.Name() + "$")
	if c.Dir != "" {
		r.History = keepHistory(c.Dir, &r)
	}
	return r
}

func keepHistory(dir string, r *Result) string {
	name := strings.ReplaceAll(r.Name(), "/", "-") + ".jsonl"
	f, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		r.Log = append(r.Log, "history not kept: "+err.Error())
		return ""
	}
	defer f.Close()
	if err := writeHistory(f, r.events); err != nil {
		r.Log = append(r.Log, "history not kept: "+err.Error())
	}
	return name
}

// Run is the suite as a test: one subtest per check, named by its ID, and below
// it one per case. What did not run is skipped with its reason. Call it from
// TestConformance, so that what a failure prints repeats it:
//
//	go test -run 'TestConformance/P05/timeout'
//
// The package comment lists the environment variables that it reads. The report
// is returned for further assertions.
func Run(t *testing.T, h Harness) *Report {
	t.Helper()
	c, err := choiceFromEnv(t)
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
	results := resultsFor(t, &h, c)
	for _, group := range grouped(chosen(&h, c)) {
		t.Run(group[0].check.id, func(t *testing.T) {
			for _, p := range group {
				show := func(t *testing.T) {
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

func choiceFromEnv(t *testing.T) (Choice, error) {
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
		if !slices.Contains([]Level{Core, Options, Faults}, level) {
			return c, fmt.Errorf("airlock: conformance: %s: no level %q", envLevels, level)
		}
		c.Levels = append(c.Levels, level)
	}
	if s := os.Getenv(envEffort); s != "" {
		effort, err := strconv.Atoi(s)
		if err != nil || effort < 1 {
			return c, fmt.Errorf("airlock: conformance: %s: %q is not a number from 1", envEffort, s)
		}
		c.Effort = effort
	}
	if a, ok := any(t).(interface{ ArtifactDir() string }); ok { // Go 1.26
		c.Dir = a.ArtifactDir()
	}
	return c, nil
}

// resultsFor returns the function that finds the result of a part. Most of a
// check is waiting, so all of them run side by side, more than -parallel would
// let; unless only some were asked for by name, or time costs nothing.
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
		return Result{ID: p.check.id, Case: p.caseOf, Verdict: Error, Reason: "not among the chosen"}
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

// repeat is the line to type for running a check once more.
func (r *Result) repeat(pattern string) string {
	line := fmt.Sprintf("%s=%d go test -run '%s'", envSeed, r.Seed, pattern)
	if r.effort > 1 {
		line = fmt.Sprintf("%s=%d %s", envEffort, r.effort, line)
	}
	return line
}

// exactly makes a -run pattern that matches one test alone.
func exactly(name string) string {
	parts := strings.Split(name, "/")
	for i := range parts {
		parts[i] = "^" + parts[i] + "$"
	}
	return strings.Join(parts, "/")
}
