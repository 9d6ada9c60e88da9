package conformance

import (
	"encoding/json"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/goairlock/airlock/core"
)

// Level groups checks by what they need and how long they take.
type Level string

// The levels, each of which is a profile of the report.
const (
	Core    Level = "core"    // every executor must pass
	Options Level = "options" // per dispatch option
	Faults  Level = "faults"  // broken connections and killed workers
	Inspect Level = "inspect" // the system's inspector; see Harness.Inspects
)

// Verdict is the result of a check. There are no others.
type Verdict string

// The verdicts.
const (
	Pass              Verdict = "pass"
	Fail              Verdict = "fail"
	RefusedAsDeclared Verdict = "refused-as-declared" // the option is refused with an error, as declared
	NotApplicable     Verdict = "not-applicable"      // there is nothing here to check
	NotRun            Verdict = "not-run"             // the harness lacks what the check needs
	Inconclusive      Verdict = "inconclusive"        // it ran, but what it provokes did not happen, or the clock was set
	Waived            Verdict = "waived"              // it failed, and a waiver excuses it
	Error             Verdict = "error"               // the harness or the suite is broken
)

// Kind says how a check failed.
type Kind string

// The kinds of [Fail].
const (
	Assertion Kind = "assertion" // the check found what it looks for
	Panicked  Kind = "panic"     // the executor panicked
	TimedOut  Kind = "timeout"   // the check did not end in time
	Ending    Kind = "ending"    // the check passed, and what it saw in all, or left behind, breaks a rule
)

// Result is the result of one check. Want and Got are set if it failed, and Reason if
// the verdict needs one.
type Result struct {
	ID       string         `json:"id"`
	Case     string         `json:"case,omitempty"` // an option, where a check has one part for each
	Level    Level          `json:"level"`
	Title    string         `json:"title"`
	Verdict  Verdict        `json:"verdict"`
	Kind     Kind           `json:"kind,omitempty"`
	Want     string         `json:"want,omitempty"`
	Got      string         `json:"got,omitempty"`
	Why      string         `json:"why,omitempty"` // why it matters
	Reason   string         `json:"reason,omitempty"`
	Repro    string         `json:"repro,omitempty"`
	Millis   int64          `json:"ms"`
	Seed     uint64         `json:"seed"`
	Witness  map[string]int `json:"witness,omitempty"` // how often what the check provokes has happened
	Evidence *Tally         `json:"evidence,omitempty"`
	History  string         `json:"history,omitempty"` // the name of its file
	Waiver   *Waiver        `json:"waiver,omitempty"`
	Log      []string       `json:"log,omitempty"`
	Leaked   bool           `json:"leaked,omitempty"` // goroutines were left behind

	events []Event
	effort int
	claims *core.Capabilities // of the last system that the check opened
}

// Name is the check's ID, and its case after a slash.
func (r *Result) Name() string {
	if r.Case == "" {
		return r.ID
	}
	return r.ID + "/" + r.Case
}

// Outcome is the summary of the results of a level.
type Outcome string

// The outcomes, from best to worst.
const (
	Success Outcome = "success"
	Partial Outcome = "partial" // something was not run, waived or inconclusive
	Failure Outcome = "failure"
	Broken  Outcome = "error" // the harness or the suite is broken, or nothing ran
)

// ExitCode is the exit code for a program: 0 for Success, 1 for Failure, 2 for
// Partial, 3 for Broken.
func (o Outcome) ExitCode() int {
	return map[Outcome]int{Success: 0, Failure: 1, Partial: 2}[o] + map[Outcome]int{Broken: 3}[o]
}

// Report is what [Check] returns, and the file conformance.json.
type Report struct {
	Schema  string             `json:"schema"`
	Made    time.Time          `json:"made"`
	Subject Subject            `json:"subject"`
	Env     Env                `json:"env"`
	Harness map[string]any     `json:"harness"` // the settings that make checks easier
	Claims  *core.Capabilities `json:"claims,omitempty"`
	Results []Result           `json:"results"`
	Summary map[Level]Outcome  `json:"summary"`
}

// Env is the environment in which the suite ran.
type Env struct {
	Go     string `json:"go"`
	OS     string `json:"os"`
	Arch   string `json:"arch"`
	CPUs   int    `json:"cpus"`
	Seed   uint64 `json:"seed"`
	Effort int    `json:"effort,omitempty"`
	WallMs int64  `json:"wallMs"`
}

const schema = "conformance-report/v1"

func newReport(h *Harness, seed uint64) *Report {
	return &Report{
		Schema: schema, Made: time.Now().UTC().Round(time.Second), Subject: h.Subject,
		Env: Env{Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), Seed: seed, Effort: h.times},
		Harness: map[string]any{
			"scale": h.scale(), "settle": h.Settle.String(), "skew": h.Skew.String(), "restartSkew": h.RestartSkew.String(), "rewritesJSON": h.RewritesJSON,
			"refusesJSON": h.RefusesJSON, "inBubble": h.InBubble, "waivers": len(h.Waivers), "shared": h.Shared,
		},
	}
}

// finish sorts the results and makes the summary.
func (r *Report) finish() {
	slices.SortFunc(r.Results, func(a, b Result) int { return strings.Compare(a.Name(), b.Name()) })
	for i := range r.Results {
		if c := r.Results[i].claims; c != nil {
			r.Claims = c
		}
	}
	r.Summary = map[Level]Outcome{}
	rank := []Outcome{Success, Partial, Failure, Broken}
	for i := range r.Results {
		res := &r.Results[i]
		o := Success
		switch res.Verdict {
		case NotRun, Inconclusive, Waived:
			o = Partial
		case Fail:
			o = Failure
		case Error:
			o = Broken
		}
		if old, ok := r.Summary[res.Level]; !ok || slices.Index(rank, o) > slices.Index(rank, old) {
			r.Summary[res.Level] = o
		}
	}
}

// Outcome returns the worst outcome of all levels, and Broken without results.
func (r *Report) Outcome() Outcome {
	worst := 0
	rank := []Outcome{Success, Partial, Failure, Broken}
	for _, o := range r.Summary {
		worst = max(worst, slices.Index(rank, o))
	}
	if len(r.Results) == 0 {
		return Broken
	}
	return rank[worst]
}

// Failed returns the IDs of the checks that failed, sorted, each once.
func (r *Report) Failed() []string {
	var ids []string
	for i := range r.Results {
		if r.Results[i].Verdict == Fail {
			ids = append(ids, r.Results[i].ID)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// WriteJSON writes the report in the schema conformance-report/v1.
func (r *Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(r)
}
