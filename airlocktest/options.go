package airlocktest

import (
	"fmt"
	"time"

	"github.com/goairlock/airlock/core"
)

// slack is how long after an intent was made a test may look for its delay.
const slack = time.Minute

// expectation holds the options that a test asks for, as core reads them.
type expectation struct {
	intent   core.Intent // without arguments
	relative bool        // its time was given as a delay, counted from now
}

// wanted lets core read the options. An option does not show whether it is a delay
// or a time. But a delay gives a later time when it is read again.
func wanted[A any](task core.Task[A], opts []core.Option) (expectation, error) {
	bare := core.DeclareTask[any](task.Name())
	first, err := bare.Intent(nil, opts...)
	if err != nil {
		return expectation{}, err
	}
	if first.Has(core.OptionNative) {
		return expectation{}, fmt.Errorf("airlock: airlocktest: a native option cannot be compared: %w", core.ErrInvalid)
	}
	again, err := bare.Intent(nil, opts...)
	return expectation{first, !first.Options.At.Equal(again.Options.At)}, err
}

// differences lists the options that differ from what was expected.
func (e expectation) differences(got core.Intent) []string {
	var diff []string
	want := e.intent
	for _, name := range core.PortableOptions() {
		if !want.Has(name) {
			continue
		}
		if name == core.OptionHeader {
			for key := range want.Headers().All() {
				if !got.Headers().Has(key) || got.Headers().Get(key) != want.Headers().Get(key) {
					diff = append(diff, fmt.Sprintf("header %s differs", key))
				}
			}
			continue
		}
		if !got.Has(name) {
			diff = append(diff, fmt.Sprintf("%s is not set", name))
			continue
		}
		if w, g, same := e.compare(name, got); !same {
			diff = append(diff, fmt.Sprintf("%s is %v, want %v", name, g, w))
		}
	}
	return diff
}

// compare returns the wanted and the actual value of one option.
func (e expectation) compare(name core.OptionName, job core.Intent) (want, got any, same bool) {
	w, g := e.intent.Options, job.Options
	switch name {
	case core.OptionQueue:
		want, got = w.Queue, g.Queue
	case core.OptionPriority:
		want, got = w.Priority, g.Priority
	case core.OptionMaxAttempts:
		want, got = w.MaxAttempts, g.MaxAttempts
	case core.OptionBackoff:
		want, got = w.Backoff, g.Backoff
	case core.OptionTimeout:
		want, got = w.Timeout, g.Timeout
	case core.OptionDeadline:
		want, got = w.Deadline, g.Deadline
	case core.OptionUnique:
		want, got = w.Unique, g.Unique
	case core.OptionID:
		want, got = e.intent.ID, job.ID
	case core.OptionDelay:
		if e.relative {
			late := w.At.Sub(g.At)
			return w.At, g.At, late >= 0 && late <= slack
		}
		return w.At, g.At, w.At.Equal(g.At)
	}
	return want, got, want == got
}
