package core

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
)

// State is the result of dispatching one intent.
type State uint8

// The states of an [Outcome].
const (
	// Unknown: the intent was sent and no answer came. It may be stored. This is
	// the zero value, since no other state can be assumed.
	Unknown State = iota
	// Accepted: the backend has acknowledged the intent, a pool has taken it, or the
	// caller's own goroutine has run it successfully.
	Accepted
	// Duplicate: a job with this chosen ID or unique key already exists.
	Duplicate
	// Rejected: not stored, and sending it again would be refused again.
	Rejected
	// NotSent: certainly not stored. It can be sent again.
	NotSent
	// Failed: run in this process, and failed for good. Err is the handler's error.
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

// sentinel returns the sentinel error of a state, or nil if it has none.
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

// severity ranks states. A DispatchError unwraps to the worst of its states.
func (s State) severity() int {
	switch s {
	case Accepted:
		return 0
	case Duplicate:
		return 1
	case NotSent:
		return 2
	case Failed:
		return 3
	case Rejected:
		return 4
	}
	return 5 // Unknown, and values that are no state
}

// Outcome is the result of dispatching one intent.
type Outcome struct {
	ID    string // the intent's ID
	State State
	Err   error // why, nil if Accepted

	// Task and Queue are those of the intent, for messages. An executor may leave
	// them empty: [OutcomesOf] sets them.
	Task, Queue string
}

// DispatchError says that not every intent of a call was accepted. It has the
// outcome of each. [Combine] makes it.
//
// errors.Is and errors.As see only the worst state, in the order Unknown,
// Rejected, Failed, NotSent, Duplicate. They find the state's sentinel, if it has
// one, and the errors of the outcomes in that state. So errors.Is(err, ErrNotSent)
// means that every intent that was not accepted is a duplicate or can be sent
// again. errors.Is(err, ErrDuplicate) means that every other intent was accepted.
type DispatchError struct {
	// Outcomes has one outcome per intent of the call, in the order of the call.
	Outcomes []Outcome
}

func (e *DispatchError) worst() State {
	worst := Accepted
	for i := range e.Outcomes {
		if e.Outcomes[i].State.severity() > worst.severity() {
			worst = e.Outcomes[i].State
		}
	}
	return worst
}

// Error counts the outcomes and shows the first one of the worst state.
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
		if first == nil || o.State.severity() > first.State.severity() {
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
		for _, s := range []State{Unknown, Rejected, Failed, NotSent, Duplicate} {
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

// Outcomes returns the same outcome for each intent.
func Outcomes(intents []Intent, s State, err error) []Outcome {
	out := make([]Outcome, len(intents))
	for i := range intents {
		out[i] = intents[i].Outcome(s, err)
	}
	return out
}

// Reject marks the i-th intent of a call as Rejected and returns the outcomes. If
// out is nil, it first makes outcomes that mark every intent as NotSent (duty 3 of
// [Executor]).
func Reject(out []Outcome, intents []Intent, i int, err error) []Outcome {
	if out == nil {
		out = Outcomes(intents, NotSent, errOtherRefused)
	}
	out[i].State, out[i].Err = Rejected, err
	return out
}

var errOtherRefused error = &notSentError{"airlock: another intent of the call was refused"}

// ContextError returns the error of a context that is done, together with its
// cause if it has one.
func ContextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == nil || cause == err {
		return err
	}
	return fmt.Errorf("%w: %w", err, cause)
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

// OutcomesOf returns the outcome of each intent, in the order of the intents, given
// the error that an [Executor] returned for them. The result belongs to the
// caller.
//
// It matches the outcomes of a [*DispatchError] with the intents by ID. If several
// intents have the same ID, it matches them in order. An intent without an outcome
// is Unknown. Any other error applies to every intent. Its sentinel determines the
// state, which is Unknown without a sentinel. The Err of a Duplicate is always
// [ErrDuplicate]. An error whose methods panic becomes a [*PanicError].
func OutcomesOf(err error, intents []Intent) []Outcome {
	out := make([]Outcome, len(intents))
	if err == nil {
		for i := range intents {
			out[i] = intents[i].Outcome(Accepted, nil)
		}
		return out
	}
	de := findDispatchError(err)
	if de == nil {
		err = Sound(err)
		state := stateOf(err)
		if state == Duplicate {
			err = ErrDuplicate
		}
		for i := range intents {
			out[i] = intents[i].Outcome(state, err)
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
		if out[i].State == Duplicate {
			out[i].Err = ErrDuplicate
		}
		out[i].Err = Sound(out[i].Err)
	}
	return out
}

// findDispatchError returns nil if there is none, or if looking for it panics.
func findDispatchError(err error) (de *DispatchError) {
	defer func() {
		if recover() != nil {
			de = nil
		}
	}()
	errors.As(err, &de)
	return de
}

// Sound returns err if errors.Is and errors.As can be called on it. If they would
// panic, as with a nil pointer of some error types, it returns a [*PanicError]. It
// is for code that receives errors from unknown executors and handlers.
func Sound(err error) (safe error) {
	if err == nil {
		return nil
	}
	defer func() {
		if v := recover(); v != nil {
			safe = unsound(err, v)
		}
	}()
	var is *soundError
	_ = errors.Is(err, errSound) || errors.As(err, &is)
	return err
}

// unsound replaces an error that panicked with v when it was unwrapped. If it is a
// PanicError, the stack is kept.
func unsound(err error, v any) error {
	if p, ok := err.(*PanicError); ok && p != nil {
		return &PanicError{Value: fmt.Sprint(p.Value), Stack: p.Stack}
	}
	return &PanicError{Value: fmt.Sprint(v), Stack: debug.Stack()}
}

// soundError matches no other error, so that a search for it unwraps everything.
type soundError struct{}

func (*soundError) Error() string { return "" }

var errSound error = new(soundError)

// alignInOrder handles the common case: outcomes in the order of the intents. It
// reports whether that was the case.
func alignInOrder(out, got []Outcome, intents []Intent) bool {
	if len(got) != len(intents) {
		return false
	}
	for i := range intents {
		if got[i].ID != intents[i].ID {
			return false
		}
		out[i] = intents[i].Outcome(got[i].State, got[i].Err)
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
			out[i] = in.Outcome(Unknown, fmt.Errorf(
				"airlock: the executor returned %d outcomes for %d intents, none of them for this one", len(got), len(intents)))
			continue
		}
		next[in.ID] = at[1:]
		out[i] = in.Outcome(got[at[0]].State, got[at[0]].Err)
	}
}

// stateOf returns the state for a plain error: the worst if it wraps several
// sentinels.
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
