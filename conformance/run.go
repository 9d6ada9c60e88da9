package conformance

import (
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
