package conformance

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Choice says what [Check] runs and what it keeps. The zero value runs all levels
// with a random seed and keeps nothing.
type Choice struct {
	// Levels to run; none for all. Inspect is one of them if the harness Inspects.
	Levels []Level
	// Only lists the checks to run: "P05", "P05/timeout". None for all.
	Only []string
	// Seed repeats an earlier run; 0 for a random one.
	Seed uint64
	// Effort multiplies the rounds and the durations of the checks that repeat
	// something, mostly those of the level Faults. 0 is 1. A check that would take too
	// long for the effort is not run, and says which effort it needs.
	Effort int
	// Parallel is how many checks run at a time; 0 is 16.
	Parallel int
	// Dir is the folder for the histories of failed checks. It is created. "" keeps
	// none.
	Dir string
	// Bubble is the test that runs the checks in bubbles of testing/synctest, if the
	// harness is InBubble. Nil: no bubbles.
	Bubble *testing.T
}

// The environment variables that [Run] reads.
const (
	envSeed   = "CONFORMANCE_SEED"   // repeats a run
	envLevels = "CONFORMANCE_LEVELS" // core,options,faults
	envEffort = "CONFORMANCE_EFFORT" // 1 for a quick run, 5 for a thorough one
	envReport = "CONFORMANCE_REPORT" // a folder for reports and histories
)

// Check runs the suite and returns a report. It needs no *testing.T, so that a
// program can use it. The error says that the harness or the choice cannot be used.
// A failed check is not an error.
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
		return fmt.Errorf("airlock: conformance: effort %d, want 0 or more", c.Effort)
	}
	for _, w := range h.Waivers {
		if w.Check == "" || w.Reason == "" || w.Owner == "" || w.Issue == "" || w.Expires.IsZero() {
			return fmt.Errorf("airlock: conformance: waiver of %q: check, reason, owner, issue and expiry are required", w.Check)
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
		if h.Inspects {
			levels = append(levels, Inspect)
		}
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

// runAll runs the parts in parallel, those that may take long first, and then those
// that must run alone.
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
	for _, i := range longestFirst(parts) {
		p := parts[i]
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

// longestFirst returns the indices of the parts, by the time that they may take.
func longestFirst(parts []part) []int {
	order := make([]int, len(parts))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(parts[b].check.limit, parts[a].check.limit) })
	return order
}

// judge runs a part, applies waivers, and keeps the history of a failed check.
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
	err := os.MkdirAll(dir, 0o777)
	var f *os.File
	if err == nil {
		f, err = os.Create(filepath.Join(dir, name))
	}
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
