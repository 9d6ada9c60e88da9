package airlock

import (
	"slices"
	"strings"

	"github.com/goairlock/airlock/core"
)

// FlushError says that a flush did not deliver every intent, and what became of
// each. errors.Is and errors.As find what they find on a [core.DispatchError] of
// the same outcomes.
type FlushError struct {
	// Outcomes has one outcome for each intent that the policies let leave, in the
	// order of the flush.
	Outcomes []core.Outcome
	// Undelivered holds the intents that are neither Accepted nor Duplicate, in
	// order.
	Undelivered []core.Intent

	cause error
}

// Error counts the intents that were not delivered and shows the worst outcome.
func (e *FlushError) Error() string {
	bad := slices.Clone(e.Outcomes)
	for i := range bad {
		if delivered(bad[i].State) {
			bad[i].State = core.Accepted // a duplicate is no failure of a flush
		}
	}
	text := (&core.DispatchError{Outcomes: bad}).Error()
	return "airlock: flush: " + strings.TrimPrefix(text, "airlock: dispatch: ")
}

// Unwrap returns the [*core.DispatchError] of the outcomes.
func (e *FlushError) Unwrap() error { return e.cause }

// Retryable returns the undelivered intents that can be sent again: those NotSent,
// and those whose outcome is Unknown. Within the executor's ID window an intent
// that was stored after all is not stored twice. With [FlushError.Refused] it
// splits Undelivered.
func (e *FlushError) Retryable() []core.Intent {
	return e.undelivered(func(s core.State) bool { return s == core.NotSent || s == core.Unknown })
}

// Refused returns the undelivered intents that would fare no better if they were
// sent again: those Rejected, and those whose task has run and Failed.
func (e *FlushError) Refused() []core.Intent {
	return e.undelivered(func(s core.State) bool { return s == core.Rejected || s == core.Failed })
}

func (e *FlushError) undelivered(want func(core.State) bool) []core.Intent {
	var out []core.Intent
	rest := e.Undelivered // one for each outcome that was not delivered
	for i := range e.Outcomes {
		if s := e.Outcomes[i].State; !delivered(s) && len(rest) > 0 {
			if want(s) {
				out = append(out, rest[0])
			}
			rest = rest[1:]
		}
	}
	return out
}

// newFlushError returns the intents that were delivered, and an error unless that is
// all of them.
func newFlushError(intents []core.Intent, outcomes []core.Outcome) (sent []core.Intent, err error) {
	e := &FlushError{Outcomes: outcomes}
	for i := range outcomes {
		if delivered(outcomes[i].State) {
			sent = append(sent, intents[i])
			continue
		}
		e.Undelivered = append(e.Undelivered, intents[i])
	}
	if e.Undelivered == nil {
		return sent, nil
	}
	e.cause = core.Combine(outcomes)
	return sent, e
}

func delivered(s core.State) bool { return s == core.Accepted || s == core.Duplicate }

// notSent is the error of a flush that has sent nothing.
func notSent(intents []core.Intent, why error) error {
	_, err := newFlushError(intents, core.Outcomes(intents, core.NotSent, why))
	return err
}
