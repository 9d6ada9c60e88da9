package conformance

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"
)

// Event is one line of a history: what the suite did or saw. Refs name jobs as
// the suite does, run-producer-number; IDs are those of the intents.
type Event struct {
	At      time.Duration `json:"at"` // since the check began
	Kind    EventKind     `json:"kind"`
	System  int           `json:"system,omitempty"`
	Ref     string        `json:"ref,omitempty"`
	ID      string        `json:"id,omitempty"`
	State   string        `json:"state,omitempty"`   // of an outcome
	Attempt int           `json:"attempt,omitempty"` // of a run
	Text    string        `json:"text,omitempty"`    // an error, a fault, a note
}

// EventKind says what an [Event] is.
type EventKind string

// The kinds of events.
const (
	EventInvoke  EventKind = "invoke"  // an intent was given to the executor
	EventOutcome EventKind = "outcome" // and this became of it
	EventStart   EventKind = "start"   // a handler was called
	EventEnd     EventKind = "end"     // it returned; Text is its error
	EventPhantom EventKind = "phantom" // a handler was called for a job that is not of this check
	EventFault   EventKind = "fault"   // a fault began; State is "working" if workers ran meanwhile
	EventHeal    EventKind = "heal"    // faults ended
)

// Tally is what a history adds up to. Counts are of jobs, not of calls.
type Tally struct {
	Sent        int `json:"sent"`
	Accepted    int `json:"accepted"`
	Duplicate   int `json:"duplicate,omitempty"`
	Rejected    int `json:"rejected,omitempty"`
	NotSent     int `json:"notSent,omitempty"`
	Unknown     int `json:"unknown,omitempty"`
	Failed      int `json:"failed,omitempty"`
	Ran         int `json:"ran"`
	Lost        int `json:"lost"`                  // accepted, and never run
	Phantom     int `json:"phantom"`               // run, and never sent or surely not stored
	StoredTwice int `json:"storedTwice,omitempty"` // succeeded twice though no worker was disturbed
	RunAgain    int `json:"runAgain,omitempty"`    // succeeded again after a worker was disturbed
	Recovered   int `json:"recovered,omitempty"`   // of unknown outcome, and run
	Reordered   int `json:"reordered,omitempty"`   // first started before one that was accepted earlier, in one system
}

type jobTally struct {
	states    map[string]bool
	started   int
	succeeded int
	order     int // among accepted ones of its system
	system    int
}

// tally is the one checker of histories.
func tally(events []Event) Tally {
	var t Tally
	jobs := map[string]*jobTally{}
	get := func(ref string) *jobTally {
		j := jobs[ref]
		if j == nil {
			j = &jobTally{states: map[string]bool{}}
			jobs[ref] = j
		}
		return j
	}
	disturbed, order := false, 0
	lastStarted := map[int]int{}
	for _, e := range events {
		switch e.Kind {
		case EventInvoke:
			j := get(e.Ref)
			if j.order == 0 {
				order++
				j.order, j.system = order, e.System
			}
		case EventOutcome:
			get(e.Ref).states[e.State] = true
		case EventStart:
			j := get(e.Ref)
			j.started++
			if j.started == 1 {
				if j.order < lastStarted[e.System] {
					t.Reordered++
				}
				lastStarted[e.System] = max(lastStarted[e.System], j.order)
			}
		case EventEnd:
			if e.Text == "" {
				get(e.Ref).succeeded++
			}
		case EventPhantom:
			t.Phantom++
		case EventFault:
			disturbed = disturbed || e.State == "working"
		}
	}
	for _, j := range jobs {
		t.add(j, disturbed)
	}
	return t
}

func (t *Tally) add(j *jobTally, disturbed bool) {
	count := func(n *int, state string) bool {
		if j.states[state] {
			*n++
		}
		return j.states[state]
	}
	t.Sent++
	accepted := count(&t.Accepted, "accepted")
	stored := count(&t.Duplicate, "duplicate") || accepted
	count(&t.Failed, "failed")
	unknown := count(&t.Unknown, "unknown")
	rejected := count(&t.Rejected, "rejected")
	notSent := count(&t.NotSent, "not sent")
	switch {
	case j.started > 0:
		t.Ran++
		if unknown && !accepted {
			t.Recovered++
		}
		if (rejected || notSent) && !stored && !unknown {
			t.Phantom++
		}
	case accepted:
		t.Lost++
	}
	if j.succeeded > 1 && disturbed {
		t.RunAgain++
	} else if j.succeeded > 1 {
		t.StoredTwice++
	}
}

// Recheck reads a history that a failed check left and judges it again, by the
// same code that the checks use.
func Recheck(r io.Reader) (Tally, error) {
	var events []Event
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		var e Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return Tally{}, fmt.Errorf("airlock: history, line %d: %w", n, err)
		}
		events = append(events, e)
	}
	if err := lines.Err(); err != nil {
		return Tally{}, fmt.Errorf("airlock: history: %w", err)
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

// recorder gathers the events of one check.
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
