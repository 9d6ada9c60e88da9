package conformance

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// watchClock ends the process if a check in a bubble goes on for too long by the real
// clock, until the function that it returns is called. The clock of a bubble stands
// still while a goroutine spins, or waits for something outside, and no check can end
// such a goroutine. The report is kept first. It says which function of the harness is
// open, and has the stacks.
func watchClock(h *Harness, c *check, caseOf string, current *atomic.Pointer[probe]) (end func()) {
	const times = 6 // of a check's limit outside a bubble
	limit := max(c.limit, 20*time.Second)
	limit = times * time.Duration(float64(limit)*h.scale()) * time.Duration(h.effort())
	timer := time.AfterFunc(limit, func() {
		r := Result{
			ID: c.id, Case: caseOf, Level: c.level, Title: c.title, Why: c.why, Verdict: Fail, Kind: TimedOut, Want: "the check comes to its end",
			Got: fmt.Sprintf("after %v it is still running, and the clock of its bubble stands still", limit), Millis: limit.Milliseconds(),
		}
		if p := current.Load(); p != nil {
			r.Seed = p.seed
			r.Got += ": " + p.whatHangs()
		}
		if h.hangs != nil {
			h.hangs(r)
		}
		panic(fmt.Sprintf("airlock: conformance: %s %s: %s", r.Name(), r.Title, r.Got))
	})
	return func() { timer.Stop() }
}

// keepUnfinished saves the report as it is, with the checks that have no result yet as
// broken. It is what remains if the process ends, as with a panic in a goroutine of
// the executor. dir is "" if no report is kept.
func (r *Report) keepUnfinished(dir string, parts []part) {
	if dir == "" {
		return
	}
	so := *r
	so.Results = slices.Clone(r.Results)
	for _, p := range parts {
		if !slices.ContainsFunc(r.Results, func(done Result) bool { return done.ID == p.check.id && done.Case == p.caseOf }) {
			so.Results = append(so.Results, Result{
				ID: p.check.id, Case: p.caseOf, Level: p.check.level, Title: p.check.title, Verdict: Error, Reason: "the process ended before this check did",
			})
		}
	}
	so.finish()
	so.save(dir) //nolint:errcheck // the whole report is saved at the end, and its error counts
}
