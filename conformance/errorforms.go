package conformance

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/goairlock/airlock/core"
)

// errorForms judges the form of every answer of every executor of a check: what duty 4
// and the doc comments of core.State, core.Outcome and core.DispatchError say. What an
// answer should have been is judged by the checks.
type errorForms struct {
	mu    sync.Mutex
	kept  []keptAnswer
	wrong []string
}

// keptAnswer is an error as it was when it was returned.
type keptAnswer struct {
	err      *core.DispatchError
	text     string
	outcomes []core.Outcome
}

// mostKept is how many errors of a check are looked at once more at its end.
const mostKept = 300

func (f *errorForms) fault(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.wrong) < 20 {
		f.wrong = append(f.wrong, fmt.Sprintf(format, args...))
	}
}

// called judges the answer to a call. before has copies of the intents from before it.
func (f *errorForms) called(err error, before, intents []core.Intent, inline bool) {
	for i := range before {
		b, in := &before[i], &intents[i]
		if b.ID != in.ID || b.Task != in.Task || b.Options != in.Options || b.ChosenID() != in.ChosenID() {
			f.fault("a call with %d intents has changed number %d", len(intents), i)
			break
		}
	}
	if err == nil {
		return
	}
	defer func() {
		if v := recover(); v != nil {
			f.fault("a method of the error %T panics: %v", err, v)
		}
	}()
	if what := misshapen(err, before, inline); what != "" {
		f.fault("a call with %d intents: %s: %.300v", len(intents), what, err)
		return
	}
	var de *core.DispatchError
	errors.As(err, &de)
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.kept) < mostKept {
		f.kept = append(f.kept, keptAnswer{de, err.Error(), slices.Clone(de.Outcomes)})
	}
}

// misshapen says what is wrong with the form of an error, "" if nothing is.
func misshapen(err error, intents []core.Intent, inline bool) string {
	var de *core.DispatchError
	switch {
	case !errors.As(err, &de) || de == nil:
		return fmt.Sprintf("it is no *DispatchError, but a %T", err)
	case len(de.Outcomes) != len(intents):
		return fmt.Sprintf("it has %d outcomes", len(de.Outcomes))
	case err.Error() == "":
		return "it has no text"
	}
	worst := core.Accepted
	for i, o := range de.Outcomes {
		in := &intents[i]
		switch {
		case o.ID != in.ID:
			return fmt.Sprintf("outcome %d is that of another intent", i)
		case o.Task != "" && o.Task != in.Task, o.Queue != "" && o.Queue != in.Options.Queue:
			return fmt.Sprintf("outcome %d has the task %q and the queue %q, and its intent %q and %q", i, o.Task, o.Queue, in.Task, in.Options.Queue)
		}
		if what := misshapenOutcome(o, inline); what != "" {
			return fmt.Sprintf("outcome %d is %v, and %s", i, o.State, what)
		}
		if grave(o.State) > grave(worst) {
			worst = o.State
		}
	}
	if worst == core.Accepted {
		return "every outcome is accepted, and the error is not nil"
	}
	if s := sentinelOf(worst); s != nil && !errors.Is(err, s) {
		return fmt.Sprintf("its worst outcome is %v, and errors.Is does not find %v", worst, s)
	}
	return contradicts(worst, err)
}

func misshapenOutcome(o core.Outcome, inline bool) string {
	switch {
	case o.State > core.Failed:
		return "this is no state"
	case o.State == core.Failed && !inline:
		return "this executor does not run jobs itself"
	case o.State == core.Accepted && o.Err != nil:
		return fmt.Sprintf("has the error %v", o.Err)
	case o.State != core.Accepted && o.Err == nil && o.State != core.Unknown:
		return "has no error that says why"
	case o.State == core.Duplicate && !errors.Is(o.Err, core.ErrDuplicate):
		return fmt.Sprintf("its error is not ErrDuplicate: %v", o.Err)
	case o.State == core.Rejected && !slices.ContainsFunc(refusals, func(s error) bool { return errors.Is(o.Err, s) }):
		return fmt.Sprintf("its error has none of the sentinels of a refusal: %v", o.Err)
	}
	return contradicts(o.State, o.Err)
}

// refusals are the sentinels of a rejected intent.
var refusals = []error{core.ErrInvalid, core.ErrUnsupported, core.ErrTooLarge, core.ErrNoHandler}

// contradicts says which sentinel of another state an error has. The error of a
// handler may have all of them.
func contradicts(s core.State, err error) string {
	var others []error
	switch s {
	case core.Rejected:
		others = []error{core.ErrNotSent, core.ErrUnknownOutcome, core.ErrDuplicate}
	case core.NotSent:
		others = append([]error{core.ErrUnknownOutcome, core.ErrDuplicate}, refusals...)
	case core.Duplicate:
		others = append([]error{core.ErrUnknownOutcome, core.ErrNotSent}, refusals...)
	case core.Unknown:
		others = []error{core.ErrNotSent, core.ErrDuplicate}
	}
	for _, other := range others {
		if errors.Is(err, other) {
			return fmt.Sprintf("errors.Is finds %v on %v", other, err)
		}
	}
	return ""
}

// grave ranks states as core.DispatchError does.
func grave(s core.State) int {
	return slices.Index([]core.State{core.Accepted, core.Duplicate, core.NotSent, core.Failed, core.Rejected, core.Unknown}, s)
}

func sentinelOf(s core.State) error {
	return map[core.State]error{core.Unknown: core.ErrUnknownOutcome, core.NotSent: core.ErrNotSent, core.Duplicate: core.ErrDuplicate}[s]
}

// found looks at the errors once more, and returns all that is wrong.
func (f *errorForms) found() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, k := range f.kept {
		same := slices.EqualFunc(k.err.Outcomes, k.outcomes, func(x, y core.Outcome) bool { return x.ID == y.ID && x.State == y.State })
		if !same {
			f.wrong = append(f.wrong, "the outcomes of an error have changed after it was returned: "+k.text)
			break
		}
	}
	return slices.Clone(f.wrong)
}
