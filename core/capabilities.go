package core

import (
	"fmt"
	"runtime/debug"
	"time"
)

// Support says how an executor stands to an option.
type Support string

// The values of [Support].
const (
	// Refused: setting the option is an [*OptionError]. Also what the zero
	// [Claim], and an option without any claim, mean.
	Refused Support = ""
	// Native: the backend itself honours the option, whoever works the job.
	Native Support = "native"
	// Emulated: the option holds where this suite's worker half runs the job.
	// The claim's Reason says what another worker does.
	Emulated Support = "emulated"
	// NotApplicable: the option is accepted because what it asks for holds by
	// itself here. The claim's Reason says why.
	NotApplicable Support = "not-applicable"
)

// Claim is what an executor declares about one option.
type Claim struct {
	Support Support
	// Granularity is the backend's resolution for an option that is a time or a
	// duration. Values are rounded away from early and from zero.
	Granularity time.Duration `json:",omitempty"`
	// Longest is the longest duration, or time from now, that is honoured; 0 for
	// no limit of the executor's own.
	Longest time.Duration `json:",omitempty"`
	// Most is the largest count that is honoured, for MaxAttempts; 0 for no
	// limit of the executor's own.
	Most int `json:",omitempty"`
	// Reason says why the option is refused or not applicable, or what other
	// workers do with an emulated one.
	Reason string `json:",omitempty"`
}

// Guarantee says how often an accepted job runs when something breaks.
type Guarantee string

// The values of [Guarantee].
const (
	AtMostOnce  Guarantee = "at-most-once"  // a crash of the worker loses the job
	AtLeastOnce Guarantee = "at-least-once" // a crash of the worker runs it again
)

// Durability says what an accepted job survives.
type Durability string

// The values of [Durability].
const (
	InProcess Durability = "process" // nothing: it is gone with this process
	InBroker  Durability = "broker"  // this process; a restart of the broker as that is configured
)

// Order says what a single worker of a queue can rely on.
type Order string

// The values of [Order].
const (
	Unordered Order = ""     // nothing
	FIFO      Order = "fifo" // jobs of one queue and priority start in the order of dispatch
)

// Batch says what a failed call has stored.
type Batch string

// The values of [Batch].
const (
	PartialBatch Batch = ""       // some intents may be stored: the outcomes tell which
	AtomicBatch  Batch = "atomic" // all or none, at least within one chunk of the executor's
)

// Window says for how long an ID is remembered, so that the same intent sent
// again is no second job. The zero value means not at all.
type Window struct {
	Kind     WindowKind
	For      time.Duration `json:",omitempty"` // of a FixedWindow
	Count    int           `json:",omitempty"` // most IDs remembered, 0 for no limit
	Survives Survival      // what it outlives
}

// WindowKind is the kind of a [Window].
type WindowKind string

// The values of [WindowKind].
const (
	NoWindow         WindowKind = ""           // IDs are not remembered
	UnfinishedWindow WindowKind = "unfinished" // until the job has finished
	StoredWindow     WindowKind = "stored"     // while the backend keeps the job's record, finished or not
	FixedWindow      WindowKind = "fixed"      // for the time For
)

// Survival says what an ID window outlives.
type Survival string

// The values of [Survival].
const (
	SurvivesNothing   Survival = ""          // it ends with this executor
	SurvivesReconnect Survival = "reconnect" // a lost connection, not a restart of the broker
	SurvivesRestart   Survival = "restart"   // a restart of the broker as that is configured
)

// Ranking says how strictly priorities are kept.
type Ranking string

// The values of [Ranking].
const (
	NoRanking Ranking = ""
	Strict    Ranking = "strict"   // a waiting job of a higher level always starts first
	Weighted  Ranking = "weighted" // higher levels get a larger share of the starts
)

// Capabilities are what one executor declares about itself. They belong to the
// instance, not to the type: they depend on how the backend is set up. The
// zero value is an executor that refuses every option.
type Capabilities struct {
	// Executor names the executor in errors, reports and native options.
	Executor string
	// Options has a claim for each option that is not refused without a reason.
	Options map[OptionName]Claim

	Delivery   Guarantee
	Durability Durability
	Order      Order
	Batch      Batch
	IDWindow   Window

	Ranking        Ranking // how priorities are kept, if they are honoured
	PriorityLevels int     // how many of the ten priorities are told apart

	// MaxPayload is the largest payload in bytes; 0 for no limit of its own.
	MaxPayload int
	// DefaultAttempts is how often a job without MaxAttempts is run in all, if it
	// fails each time; 0 if nobody can tell.
	DefaultAttempts int
	// CancelLatency bounds how long a call goes on once its context is done; 0
	// for no delay worth a number.
	CancelLatency time.Duration

	// Refuse judges what the claims cannot say, such as two options that exclude
	// each other. It returns nil, or an error that wraps ErrUnsupported,
	// ErrInvalid or ErrTooLarge. It must depend on the intent alone. May be nil.
	Refuse func(Intent) error `json:"-"`
}

// Check returns nil if the executor takes the intent, else why not: an
// [*OptionError], [ErrTooLarge] or [ErrInvalid]. It is the one implementation of
// refusal: [Guard] uses it for executors, airlock.Require at the call site.
func (c Capabilities) Check(in Intent) error { return c.checker().one(&in) }

// checker is Capabilities prepared for judging many intents.
type checker struct {
	caps *Capabilities
}

func (c Capabilities) checker() checker { return checker{&c} }

func (c checker) all(intents []Intent) error {
	var out []Outcome
	good := "" // a task name that has passed: most batches are of one task
	for i := range intents {
		in := &intents[i]
		var err error
		if good != "" && in.Task == good && in.bare() {
			err = c.beyondOptions(in) // nothing else is left to judge
		} else {
			err = c.one(in)
		}
		if err == nil {
			good = in.Task
			continue
		}
		out = reject(out, intents, i, err)
	}
	return Combine(out)
}

// reject marks one intent of a call as refused. The first one so marked makes
// the outcomes: all others are NotSent (duty 3).
func reject(out []Outcome, intents []Intent, i int, err error) []Outcome {
	if out == nil {
		out = make([]Outcome, len(intents))
		for j := range intents {
			out[j] = intents[j].outcome(NotSent, errRefusedBeside)
		}
	}
	out[i].State, out[i].Err = Rejected, err
	return out
}

var errRefusedBeside = fmt.Errorf("airlock: another intent of the call was refused: %w", ErrNotSent)

// judged lists the options in the order in which they are judged.
var judged = append(PortableOptions(), OptionNative)

func (c checker) one(in *Intent) error {
	if err := in.validate(); err != nil {
		return err
	}
	for _, name := range judged {
		if in.has(name) {
			if err := c.option(in, name); err != nil {
				return err
			}
		}
	}
	return c.beyondOptions(in)
}

func (c checker) beyondOptions(in *Intent) error {
	if most := c.caps.MaxPayload; most > 0 && len(in.held().payload) > most {
		return &markedError{
			text: fmt.Sprintf("airlock: task %s: payload of %d bytes, %s takes at most %d", in.Task, len(in.held().payload), c.caps.Executor, most),
			mark: ErrTooLarge,
		}
	}
	if c.caps.Refuse != nil {
		return c.refuse(in)
	}
	return nil
}

// refuse contains a panic of Refuse: an intent that was not judged is refused.
func (c checker) refuse(in *Intent) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return sound(c.caps.Refuse(*in))
}

func (c checker) option(in *Intent, name OptionName) error {
	refuse := func(format string, args ...any) error {
		return &OptionError{Option: name, Executor: c.caps.Executor, Reason: fmt.Sprintf(format, args...)}
	}
	if name == OptionNative {
		for _, n := range in.held().native {
			if n.executor != c.caps.Executor {
				return refuse("it is one of %s alone", n.executor)
			}
		}
	}
	claim := c.caps.Options[name]
	switch claim.Support {
	case Native, Emulated, NotApplicable:
	default:
		return refuse("%s", claim.Reason)
	}
	if claim.Most > 0 && name == OptionMaxAttempts && in.Options.MaxAttempts > claim.Most {
		return refuse("%d, it takes at most %d", in.Options.MaxAttempts, claim.Most)
	}
	if span, ok := in.span(name); ok && claim.Longest > 0 && span > claim.Longest {
		return refuse("%v, it takes at most %v", span.Round(time.Second), claim.Longest)
	}
	return nil
}

// span is the duration that an option asks for, as Claim.Longest bounds it.
func (in *Intent) span(name OptionName) (time.Duration, bool) {
	switch name {
	case OptionDelay:
		return time.Until(in.Options.At), true
	case OptionDeadline:
		return time.Until(in.Options.Deadline), true
	case OptionTimeout:
		return in.Options.Timeout, true
	case OptionBackoff:
		return in.Options.Backoff.Max, true
	}
	return 0, false
}
