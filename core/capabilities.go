package core

import (
	"fmt"
	"maps"
	"time"
)

// Support says whether, and by whom, an option is honoured.
type Support string

// The values of [Support].
const (
	// Refused: setting the option is an [*OptionError]. The zero [Claim] and an
	// option without a claim mean the same.
	SupportRefused Support = ""
	// Native: the backend itself honours the option, for any kind of worker.
	SupportNative Support = "native"
	// Emulated: the option is honoured if airlock's own worker runs the job. The
	// claim's Reason says what another worker does.
	SupportEmulated Support = "emulated"
	// NotApplicable: accepted, because the guarantee always holds here and there is
	// nothing to do. The claim's Reason says why.
	SupportNotApplicable Support = "not-applicable"
)

// Claim is what an executor declares about one option.
type Claim struct {
	Support Support
	// Granularity is the backend's resolution for an option that is a time or a
	// duration. Values are rounded up: never early, never zero.
	Granularity time.Duration `json:",omitempty"`
	// Longest is the longest duration, or time from now, that the executor takes.
	// 0 means that the executor adds no limit.
	Longest time.Duration `json:",omitempty"`
	// Most is the largest count that the executor takes, for MaxAttempts. 0 means
	// that the executor adds no limit.
	Most int `json:",omitempty"`
	// Reason says why the option is refused or not applicable, or what other
	// workers do with an emulated option.
	Reason string `json:",omitempty"`
}

// Guarantee says how often an accepted job runs when something breaks.
type Guarantee string

// The values of [Guarantee].
const (
	GuaranteeAtMostOnce  Guarantee = "at-most-once"  // a crash of the worker loses the job
	GuaranteeAtLeastOnce Guarantee = "at-least-once" // a crash of the worker runs it again
)

// Durability says what an accepted job survives.
type Durability string

// The values of [Durability].
const (
	DurabilityProcess Durability = "process" // nothing: the job is lost with this process
	DurabilityBroker  Durability = "broker"  // the end of this process, and a broker restart as far as the broker is configured for it
)

// Order says what a single worker of a queue can rely on.
type Order string

// The values of [Order]. The zero value promises nothing.
const (
	OrderFIFO Order = "fifo" // jobs of one queue and priority start in the order of dispatch
)

// Window says for how long an ID is remembered. Within the window, sending the
// same intent again does not make a second job. The zero value means that IDs
// are not remembered.
type Window struct {
	Kind     WindowKind
	For      time.Duration `json:",omitempty"` // the length of a [WindowFixed]
	Count    int           `json:",omitempty"` // how many IDs are remembered, 0 for no limit
	PerQueue bool          `json:",omitempty"` // an ID is one job per queue instead of per executor
	Survives Survival      // what the memory of IDs survives
}

// WindowKind is the kind of a [Window].
type WindowKind string

// The values of [WindowKind]. The zero value means that IDs are not remembered.
const (
	WindowUnfinished WindowKind = "unfinished" // until the job has finished
	WindowStored     WindowKind = "stored"     // while the backend keeps the job's record, finished or not
	WindowFixed      WindowKind = "fixed"      // for the time For
)

// Survival says what an ID window survives.
type Survival string

// The values of [Survival].
const (
	SurvivalNone      Survival = ""          // nothing: it ends with this executor
	SurvivalReconnect Survival = "reconnect" // a lost connection, but not a restart of the broker
	SurvivalRestart   Survival = "restart"   // a broker restart as far as the broker is configured for it
)

// Ranking says how strictly priorities are kept.
type Ranking string

// The values of [Ranking]. The zero value means that priorities are not kept.
const (
	RankingStrict   Ranking = "strict"   // a waiting job of a higher level always starts first
	RankingWeighted Ranking = "weighted" // higher levels get a larger share of the starts
)

// Capabilities are what one executor declares about itself. They belong to the
// instance, since they depend on how the backend is set up. The zero value
// describes an executor that refuses every option.
type Capabilities struct {
	// Executor names the executor in errors, reports and native options.
	Executor string
	// Options has a claim for each option that the executor takes, or that it
	// refuses with a reason. An option without a claim is refused.
	Options map[OptionName]Claim

	Delivery   Guarantee
	Durability Durability
	Order      Order
	// AtomicBatch says that a failed call has stored all of its intents or none.
	// An executor that splits large calls promises this for each part. Without
	// AtomicBatch some intents may be stored, and the outcomes say which.
	AtomicBatch bool
	IDWindow    Window

	Ranking        Ranking // how priorities are kept, if they are honoured
	PriorityLevels int     // how many of the ten priorities make a difference

	// MaxPayload is the largest payload in bytes. 0 means that the executor adds no
	// limit.
	MaxPayload int
	// DefaultAttempts is the number of runs of a job without MaxAttempts that fails
	// each time: [DefaultMaxAttempts] on every queue. 0 means unknown.
	DefaultAttempts int
	// Transactional says that an accepted job exists if and only if the caller's
	// transaction commits.
	Transactional bool

	// Refuse checks what the claims cannot express, such as two options that
	// exclude each other. It returns nil, or an error that wraps ErrUnsupported,
	// ErrInvalid or ErrTooLarge. Its result must depend on nothing but the intent.
	// May be nil.
	Refuse func(Intent) error `json:"-"`
}

// Clone returns a copy whose claims can be changed without changing c.
func (c Capabilities) Clone() Capabilities {
	c.Options = maps.Clone(c.Options)
	return c
}

// Check returns nil if the executor takes the intent. Otherwise it returns an
// [*OptionError], [ErrTooLarge] or [ErrInvalid]. All refusals come from here:
// Guard in package adapter calls it for executors, and airlock.Require calls it
// where an intent is enqueued.
func (c Capabilities) Check(in Intent) error { return c.one(&in) }

// CheckCall returns nil if the executor takes every intent of a call. Otherwise
// it returns the answer of duty 3 of [Executor]: the intents that [Check]
// refuses are Rejected, the others NotSent.
func (c *Capabilities) CheckCall(intents []Intent) error {
	var out []Outcome
	good := "" // a valid task name: most calls have one task
	for i := range intents {
		in := &intents[i]
		var err error
		if good != "" && in.Task == good && in.bare() {
			err = c.beyondOptions(in) // there is nothing else to check
		} else {
			err = c.one(in)
		}
		if err == nil {
			good = in.Task
			continue
		}
		out = Reject(out, intents, i, err)
	}
	return Combine(out)
}

// checkOrder lists the options in the order in which they are checked.
var checkOrder = append(PortableOptions(), OptionNative)

func (c *Capabilities) one(in *Intent) error {
	if err := in.validate(); err != nil {
		return err
	}
	if in.bare() {
		return c.beyondOptions(in)
	}
	for _, name := range checkOrder {
		if in.has(name) {
			if err := c.option(in, name); err != nil {
				return err
			}
		}
	}
	return c.beyondOptions(in)
}

func (c *Capabilities) beyondOptions(in *Intent) error {
	if most := c.MaxPayload; most > 0 && len(in.held().payload) > most {
		return &markedError{
			text: fmt.Sprintf("airlock: task %s: payload of %d bytes, %s takes at most %d", in.Task, len(in.held().payload), c.Executor, most),
			mark: ErrTooLarge,
		}
	}
	if c.Refuse != nil {
		return c.refuse(in)
	}
	return nil
}

// refuse calls Refuse. If that panics, the intent is refused.
func (c *Capabilities) refuse(in *Intent) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicError(v)
		}
	}()
	return Sound(c.Refuse(*in))
}

func (c *Capabilities) option(in *Intent, name OptionName) error {
	refuse := func(format string, args ...any) error {
		return &OptionError{Option: name, Executor: c.Executor, Reason: fmt.Sprintf(format, args...)}
	}
	if name == OptionNative {
		for _, n := range in.held().native {
			if n.executor != c.Executor {
				return refuse("it is for %s only", n.executor)
			}
		}
	}
	claim := c.Options[name]
	switch claim.Support {
	case SupportNative, SupportEmulated, SupportNotApplicable:
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

// span returns the duration that Claim.Longest limits, if the option has one.
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
