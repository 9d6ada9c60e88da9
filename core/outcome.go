package core

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
)

// State says what became of one intent of a dispatch.
type State uint8

// The states of an [Outcome].
const (
	// Unknown: sent, and no answer came. The intent may be stored. The zero
	// value, since nothing else may be assumed.
	Unknown State = iota
	// Accepted: the backend has acknowledged the intent; a pool has taken it;
	// the caller's own goroutine has run it to success.
	Accepted
	// Duplicate: a job of this chosen ID or unique key is there already.
	Duplicate
	// Rejected: never stored, and never will be, however often it is sent.
	Rejected
	// NotSent: surely not stored, and worth sending again.
	NotSent
	// Failed: run in this process, and failed for good. Err is the handler's own.
	Failed
)

var stateNames = [...]string{
	Unknown: "unknown", Accepted: "accepted", Duplicate: "duplicate",
	Rejected: "rejected", NotSent: "not sent", Failed: "failed",
}

func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// sentinel is the error that stands for a state; Accepted and Failed have none.
func (s State) sentinel() error {
	switch s {
	case Unknown:
		return ErrUnknownOutcome
	case NotSent:
		return ErrNotSent
	case Duplicate:
		return ErrDuplicate
	}
	return nil
}

// badness ranks states; a DispatchError shows the worst it has.
func (s State) badness() int {
	switch s {
	case Accepted:
		return 0
	case Duplicate:
		return 1
	case Failed:
		return 2
	case Rejected:
		return 3
	case NotSent:
		return 4
	}
	return 5 // Unknown, and whatever is not a state
}

// telling ranks states by how much they explain, for a message.
func (s State) telling() int {
	switch s {
	case Duplicate:
		return 1
	case NotSent:
		return 2
	case Failed:
		return 3
	case Rejected:
		return 4
	}
	return 5
}

// Outcome is what became of one intent of a dispatch.
type Outcome struct {
	ID    string // the intent's
	State State
	Err   error // why, nil if Accepted

	// Task and Queue are the intent's, for messages. Whoever makes an Outcome
	// may leave them out: [OutcomesOf] fills them in.
	Task, Queue string
}

// DispatchError says that not every intent of a call was accepted, and what
// became of each. It is made by [Combine].
//
// errors.Is and errors.As see the worst state only, in the order Unknown,
// NotSent, Rejected, Failed, Duplicate: its sentinel, where it has one, and the
// errors of the outcomes in that state. So errors.Is(err, ErrDuplicate) means
// that everything else was accepted.
type DispatchError struct {
	// Outcomes has one outcome per intent of the call, in the order of the call.
	Outcomes []Outcome
}

func (e *DispatchError) worst() State {
	worst := Accepted
	for i := range e.Outcomes {
		if e.Outcomes[i].State.badness() > worst.badness() {
			worst = e.Outcomes[i].State
		}
	}
	return worst
}

// Error counts the outcomes and shows the first that tells why: what was not
// sent often was not because of another intent of the call, so it comes after
// Unknown, Rejected and Failed here.
func (e *DispatchError) Error() string {
	var counts [len(stateNames)]int
	var first *Outcome
	bad := 0
	for i := range e.Outcomes {
		o := &e.Outcomes[i]
		if int(o.State) < len(counts) {
			counts[o.State]++
		}
		if o.State == Accepted {
			continue
		}
		bad++
		if first == nil || o.State.telling() > first.State.telling() {
			first = o
		}
	}
	if first == nil {
		return "airlock: dispatch: every intent was accepted"
	}
	var b strings.Builder
	b.WriteString("airlock: dispatch: ")
	if len(e.Outcomes) > 1 {
		fmt.Fprintf(&b, "%d of %d intents not accepted (", bad, len(e.Outcomes))
		sep := ""
		for _, s := range []State{Unknown, NotSent, Rejected, Failed, Duplicate} {
			if counts[s] > 0 {
				fmt.Fprintf(&b, "%s%d %v", sep, counts[s], s)
				sep = ", "
			}
		}
		b.WriteString("), first ")
	}
	if first.Task == "" {
		b.WriteString(first.ID)
	} else {
		b.WriteString(identity(first.Task, first.ID, first.Queue))
	}
	fmt.Fprintf(&b, ": %v", first.State)
	if first.Err != nil && first.Err != first.State.sentinel() {
		b.WriteString(": " + unprefixed(first.Err))
	}
	return b.String()
}

// Unwrap returns the sentinel of the worst state and the errors of the outcomes
// in that state.
func (e *DispatchError) Unwrap() []error {
	worst := e.worst()
	var errs []error
	if s := worst.sentinel(); s != nil {
		errs = append(errs, s)
	}
	if worst == Accepted {
		return errs
	}
	for i := range e.Outcomes {
		if o := &e.Outcomes[i]; o.State == worst && o.Err != nil {
			errs = append(errs, o.Err)
		}
	}
	return errs
}

// Combine builds an executor's answer: nil if every outcome is Accepted, else a
// [*DispatchError] that holds the outcomes. It keeps the slice.
func Combine(outcomes []Outcome) error {
	for i := range outcomes {
		if outcomes[i].State != Accepted {
			return &DispatchError{Outcomes: outcomes}
		}
	}
	return nil
}

// OutcomesOf says what became of each intent, given what an [Executor] returned
// for them: one outcome per intent, in their order, whatever the executor did.
//
// Outcomes of a [*DispatchError] are aligned by ID, the first of an ID with the
// first intent of that ID and so on; an intent without one is Unknown. Any
// other error holds for every intent, as Unknown unless it wraps a sentinel
// that says more. An error whose methods panic becomes a [*PanicError]. The
// result is the caller's own.
func OutcomesOf(err error, intents []Intent) []Outcome {
	out := make([]Outcome, len(intents))
	if err == nil {
		for i := range intents {
			out[i] = intents[i].outcome(Accepted, nil)
		}
		return out
	}
	de := findDispatchError(err)
	if de == nil {
		err = sound(err)
		state := stateOf(err)
		for i := range intents {
			out[i] = intents[i].outcome(state, err)
		}
		return out
	}
	if !alignInOrder(out, de.Outcomes, intents) {
		alignByID(out, de.Outcomes, intents)
	}
	for i := range out {
		if out[i].State > Failed {
			out[i].State = Unknown
		}
		out[i].Err = sound(out[i].Err)
	}
	return out
}

// findDispatchError returns nil if there is none, or no way to it.
func findDispatchError(err error) (de *DispatchError) {
	defer func() {
		if recover() != nil {
			de = nil
		}
	}()
	errors.As(err, &de)
	return de
}

// sound returns err, or what looking into it panics with: a nil pointer of the
// error type of a careless executor or handler must not fell those who ask
// errors.Is and errors.As.
func sound(err error) (safe error) {
	if err == nil {
		return nil
	}
	defer func() {
		if v := recover(); v != nil {
			safe = &PanicError{Value: fmt.Sprint(v), Stack: debug.Stack()}
		}
	}()
	var is *soundError
	_ = errors.Is(err, errSound) || errors.As(err, &is)
	return err
}

// soundError is an error that nobody has: the search for it looks everywhere.
type soundError struct{}

func (*soundError) Error() string { return "" }

var errSound error = new(soundError)

// alignInOrder is the common case: the outcomes stand as the intents do.
func alignInOrder(out, got []Outcome, intents []Intent) bool {
	if len(got) != len(intents) {
		return false
	}
	for i := range intents {
		if got[i].ID != intents[i].ID {
			return false
		}
		out[i] = intents[i].outcome(got[i].State, got[i].Err)
	}
	return true
}

func alignByID(out, got []Outcome, intents []Intent) {
	next := make(map[string][]int, len(got))
	for i := range got {
		next[got[i].ID] = append(next[got[i].ID], i)
	}
	for i := range intents {
		in := &intents[i]
		at := next[in.ID]
		if len(at) == 0 {
			out[i] = in.outcome(Unknown, fmt.Errorf(
				"airlock: the executor returned %d outcomes for %d intents, none of them for this one", len(got), len(intents)))
			continue
		}
		next[in.ID] = at[1:]
		out[i] = in.outcome(got[at[0]].State, got[at[0]].Err)
	}
}

// stateOf reads a plain error. Where it wraps several sentinels the worst holds.
func stateOf(err error) State {
	switch {
	case errors.Is(err, ErrUnknownOutcome):
		return Unknown
	case errors.Is(err, ErrNotSent), errors.Is(err, ErrClosed):
		return NotSent
	case errors.Is(err, ErrInvalid), errors.Is(err, ErrUnsupported), errors.Is(err, ErrTooLarge), errors.Is(err, ErrNoHandler):
		return Rejected
	case errors.Is(err, ErrDuplicate):
		return Duplicate
	}
	return Unknown
}
