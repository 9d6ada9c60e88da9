package conformance

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/goairlock/airlock/core"
)

// Event is one line of a history: something that the suite did or saw. Ref is the
// suite's name for a job, run-system-number. ID is the intent's.
type Event struct {
	At      time.Duration `json:"at"` // since the check began
	Kind    EventKind     `json:"kind"`
	System  int           `json:"system,omitempty"`
	Ref     string        `json:"ref,omitempty"`
	ID      string        `json:"id,omitempty"`
	Task    string        `json:"task,omitempty"`    // of an invoked intent that is not of the suite's own tasks
	Options *EventOptions `json:"options,omitempty"` // of an invoked intent that has some
	State   string        `json:"state,omitempty"`   // of an outcome
	Attempt int           `json:"attempt,omitempty"` // of a run
	Text    string        `json:"text,omitempty"`    // an error, a fault, a note
}

// EventKind says what an [Event] is.
type EventKind string

// The kinds of events.
const (
	EventOpen    EventKind = "open"    // a system was made; State is "inline" if it runs jobs itself, Text its namespace
	EventInvoke  EventKind = "invoke"  // an intent was given to the executor
	EventOutcome EventKind = "outcome" // the executor's answer
	EventStart   EventKind = "start"   // a handler was called
	EventEnd     EventKind = "end"     // it returned; Text is its error
	EventPhantom EventKind = "phantom" // a handler was called for a job that no system of its namespace has sent
	EventFault   EventKind = "fault"   // a fault began; State is "working" if it disturbs a worker
	EventHeal    EventKind = "heal"    // faults ended
	EventLeft    EventKind = "left"    // an accepted job has not run when the check ends, and need not; Text says why
)

// EventOptions are the options of an intent in a history. Of headers it has the keys.
type EventOptions struct {
	Queue       string    `json:"queue,omitempty"`
	Priority    int       `json:"priority,omitempty"`
	At          time.Time `json:"at,omitzero"`
	MaxAttempts int       `json:"maxAttempts,omitempty"`
	Backoff     string    `json:"backoff,omitempty"`
	Timeout     string    `json:"timeout,omitempty"`
	Deadline    time.Time `json:"deadline,omitzero"`
	Unique      string    `json:"unique,omitempty"`
	ChosenID    bool      `json:"chosenID,omitempty"`
	Headers     []string  `json:"headers,omitempty"`
	Payload     int       `json:"payload,omitempty"` // its size in bytes, if it is more than 1024
}

// eventOptions returns the options of an intent, nil if it has none.
func eventOptions(in *core.Intent) *EventOptions {
	o := in.Options
	e := EventOptions{
		Queue: o.Queue, Priority: o.Priority, At: o.At, MaxAttempts: o.MaxAttempts, Deadline: o.Deadline, Unique: o.Unique,
		ChosenID: in.ChosenID(),
	}
	if o.Backoff != (core.BackoffPolicy{}) {
		e.Backoff = fmt.Sprint(o.Backoff)
	}
	if o.Timeout != 0 {
		e.Timeout = o.Timeout.String()
	}
	for k := range in.Headers().All() {
		e.Headers = append(e.Headers, k)
	}
	slices.Sort(e.Headers)
	if n := len(in.Payload()); n > 1024 {
		e.Payload = n
	}
	if reflect.ValueOf(e).IsZero() {
		return nil
	}
	return &e
}

// Tally is the sum of a history. It counts jobs, not calls.
type Tally struct {
	Sent         int `json:"sent"`
	Accepted     int `json:"accepted"`
	Duplicate    int `json:"duplicate,omitempty"`
	Rejected     int `json:"rejected,omitempty"`
	NotSent      int `json:"notSent,omitempty"`
	Unknown      int `json:"unknown,omitempty"`
	Failed       int `json:"failed,omitempty"`
	Ran          int `json:"ran"`
	Left         int `json:"left,omitempty"`         // accepted, not run when the check ended, and need not have
	Lost         int `json:"lost"`                   // accepted, and never run
	Phantom      int `json:"phantom"`                // run, and never sent, or reported as rejected or not sent
	StoredTwice  int `json:"storedTwice,omitempty"`  // succeeded twice though no worker was disturbed
	RunAgain     int `json:"runAgain,omitempty"`     // succeeded again after a worker was disturbed
	Overlapped   int `json:"overlapped,omitempty"`   // ran twice at the same time though no worker was disturbed
	Contradicted int `json:"contradicted,omitempty"` // its outcome is not what its run was, though nothing was disturbed
	Recovered    int `json:"recovered,omitempty"`    // of unknown outcome, and run
	Reordered    int `json:"reordered,omitempty"`    // first started before one that was accepted earlier, in one system
}

// jobTally is what a history says of one job.
type jobTally struct {
	states    map[string]bool
	started   int
	running   int
	succeeded int
	failed    bool // the last run that has ended
	overlaps  bool
	left      bool
	foreign   bool // not of the suite's own tasks, whose runs are not seen
	inline    bool
	order     int // among the jobs of its system
	system    int
}

func tally(events []Event) Tally {
	t, _ := account(events)
	return t
}

// account is the one judge of histories. It returns the sums, and the jobs that
// break a rule.
func account(events []Event) (Tally, map[finding][]string) {
	a := accounts{jobs: map[string]*jobTally{}, lastStarted: map[int]int{}, inline: map[int]bool{}, found: map[finding][]string{}}
	for _, e := range events {
		a.event(e)
	}
	for _, ref := range slices.Sorted(maps.Keys(a.jobs)) {
		a.add(ref, a.jobs[ref])
	}
	return a.sum, a.found
}

type accounts struct {
	sum         Tally
	jobs        map[string]*jobTally // by ref
	found       map[finding][]string
	inline      map[int]bool // systems that run jobs themselves
	lastStarted map[int]int  // by system
	order       int
	disturbed   bool // a worker was
	faulty      bool // anything was
}

func (a *accounts) job(ref string) *jobTally {
	j := a.jobs[ref]
	if j == nil {
		j = &jobTally{states: map[string]bool{}}
		a.jobs[ref] = j
	}
	return j
}

func (a *accounts) event(e Event) {
	switch e.Kind {
	case EventOpen:
		a.inline[e.System] = e.State == "inline"
	case EventInvoke:
		j := a.job(e.Ref)
		j.foreign, j.inline = e.Task != "", a.inline[e.System]
		if j.order == 0 {
			a.order++
			j.order, j.system = a.order, e.System
		}
	case EventOutcome:
		a.job(e.Ref).states[e.State] = true
	case EventStart:
		j := a.job(e.Ref)
		j.started++
		j.running++
		j.overlaps = j.overlaps || j.running > 1 && !a.disturbed
		if j.started == 1 && j.system == e.System {
			if j.order < a.lastStarted[e.System] {
				a.sum.Reordered++
			}
			a.lastStarted[e.System] = max(a.lastStarted[e.System], j.order)
		}
	case EventEnd:
		j := a.job(e.Ref)
		j.running--
		j.failed = e.Text != ""
		if !j.failed {
			j.succeeded++
		}
	case EventPhantom:
		a.sum.Phantom++
		a.found[phantomJobs] = append(a.found[phantomJobs], fmt.Sprintf("ref %q, ID %q", e.Ref, e.ID))
	case EventFault:
		a.faulty = true
		a.disturbed = a.disturbed || e.State == "working"
	case EventLeft:
		a.job(e.Ref).left = true
	}
}

// add adds a job to the sums.
func (a *accounts) add(ref string, j *jobTally) {
	t := &a.sum
	count := func(n *int, state core.State) bool {
		if j.states[state.String()] {
			*n++
		}
		return j.states[state.String()]
	}
	find := func(n *int, what finding) {
		*n++
		a.found[what] = append(a.found[what], ref)
	}
	t.Sent++
	accepted, duplicate := count(&t.Accepted, core.Accepted), count(&t.Duplicate, core.Duplicate)
	failed, unknown := count(&t.Failed, core.Failed), count(&t.Unknown, core.Unknown)
	refused := count(&t.Rejected, core.Rejected)
	refused = count(&t.NotSent, core.NotSent) || refused
	switch {
	case j.started > 0:
		t.Ran++
		if unknown && !accepted {
			t.Recovered++
		}
		if refused && !accepted && !duplicate && !unknown && !failed {
			find(&t.Phantom, phantomJobs)
		}
	case accepted && j.left:
		t.Left++
	case accepted && !j.foreign:
		find(&t.Lost, lostJobs)
	}
	switch {
	case j.succeeded > 1 && a.disturbed:
		t.RunAgain++
	case j.succeeded > 1:
		find(&t.StoredTwice, ranTwice)
	}
	if j.overlaps {
		find(&t.Overlapped, overlapped)
	}
	ran := j.started > 0 && !a.faulty
	duplicateRan := duplicate && !accepted && !unknown && !failed
	inlineLied := j.inline && (accepted && j.succeeded == 0 || failed && !accepted && j.succeeded > 0)
	if ran && (duplicateRan || inlineLied) {
		find(&t.Contradicted, contradicted)
	}
}

// Recheck reads a history that a failed check has left, and judges it again with the
// code that the checks use.
func Recheck(r io.Reader) (Tally, error) {
	var events []Event
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		var e Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return Tally{}, fmt.Errorf("airlock: conformance: history, line %d: %w", n, err)
		}
		events = append(events, e)
	}
	if err := lines.Err(); err != nil {
		return Tally{}, fmt.Errorf("airlock: conformance: history: %w", err)
	}
	return tally(events), nil
}

func writeHistory(w io.Writer, events []Event) error {
	enc := json.NewEncoder(w)
	for i := range events {
		if err := enc.Encode(&events[i]); err != nil {
			return err
		}
	}
	return nil
}

// recorder keeps the events of one check.
type recorder struct {
	mu     sync.Mutex
	begin  time.Time
	events []Event
}

func (r *recorder) add(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.At = time.Since(r.begin)
	r.events = append(r.events, e)
}

func (r *recorder) all() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.events[:len(r.events):len(r.events)]
}
