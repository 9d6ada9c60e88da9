package core

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"time"
)

// Intent says that a task should be run: its name, its encoded arguments, its
// dispatch options and an identity. It is made by [Task.Intent], or decoded by
// [DecodeIntent], and is immutable from then on: an executor may keep it and
// share it, and must not change what its accessors return.
//
// Printed or logged it shows its ID, task and queue, never its payload or
// headers.
type Intent struct {
	ID      string  // the job's identity on every backend
	Task    string  // the task's name
	Options Options // the dispatch options, resolved

	_       [0]func() // intents are told apart by their IDs, not by ==
	issued  string    // the ID, if nobody chose it
	content hidden[content]
	extras  bool // content has headers or native options
}

// content is what an intent must not show.
type content struct {
	payload []byte
	headers Headers
	native  []nativeValue
	handler *Handler // of NewTask
}

var noContent content

func (in *Intent) held() *content {
	if c := in.content.get(); c != nil {
		return c
	}
	return &noContent
}

// hold makes c what the intent holds.
func (in *Intent) hold(c content) {
	in.content, in.extras = hide(c), c.headers.Len() > 0 || len(c.native) > 0
}

// generated reports that nobody chose the ID. Where that holds, the ID is also
// known to be good, without a look at its bytes: equal strings that are one and
// the same are equal at once.
func (in *Intent) generated() bool { return in.issued != "" && in.ID == in.issued }

// Payload returns the encoded arguments. The caller must not change them.
func (in Intent) Payload() []byte { return in.held().payload }

// Headers returns the headers.
func (in Intent) Headers() Headers { return in.held().headers }

// ChosenID reports whether the caller chose the ID, with [ID]. The same intent
// sent again is a [Duplicate] if so, and [Accepted] again if the ID was
// generated.
func (in Intent) ChosenID() bool { return !in.generated() }

// Native returns the values of the native options for the named executor, in
// the order given. See [NativeOption].
func (in Intent) Native(executor string) []any {
	var values []any
	for _, n := range in.held().native {
		if n.executor == executor {
			values = append(values, n.value)
		}
	}
	return values
}

// has spares the hot path of Capabilities.Check a copy of the intent per option.
func (in *Intent) has(name OptionName) bool {
	o := &in.Options
	switch name {
	case OptionQueue:
		return o.Queue != ""
	case OptionPriority:
		return o.Priority != 0
	case OptionDelay:
		return !o.At.IsZero()
	case OptionMaxAttempts:
		return o.MaxAttempts != 0
	case OptionBackoff:
		return !o.Backoff.IsZero()
	case OptionTimeout:
		return o.Timeout != 0
	case OptionDeadline:
		return !o.Deadline.IsZero()
	case OptionID:
		return !in.generated()
	case OptionUnique:
		return o.Unique != ""
	case OptionHeader:
		return in.held().headers.Len() > 0
	case OptionNative:
		return len(in.held().native) > 0
	}
	return false
}

// bare reports that no option is set at all, as on most intents of a large
// batch: what spares a Guard the look at each option.
func (in *Intent) bare() bool {
	o := &in.Options
	return !in.extras && in.generated() &&
		o.Queue == "" && o.Priority == 0 && o.MaxAttempts == 0 && o.Timeout == 0 && o.Unique == "" &&
		o.Backoff.IsZero() && o.At.IsZero() && o.Deadline.IsZero()
}

// Has reports whether an option is set. [OptionID] counts as set when the
// caller chose the ID.
func (in Intent) Has(name OptionName) bool { return in.has(name) }

// Without returns the intent with these options unset. Without [OptionID] the
// ID stays, but counts as generated.
func (in Intent) Without(names ...OptionName) Intent {
	for _, name := range names {
		o := &in.Options
		var unset Options
		switch name {
		case OptionQueue:
			o.Queue = unset.Queue
		case OptionPriority:
			o.Priority = unset.Priority
		case OptionDelay:
			o.At = unset.At
		case OptionMaxAttempts:
			o.MaxAttempts = unset.MaxAttempts
		case OptionBackoff:
			o.Backoff = unset.Backoff
		case OptionTimeout:
			o.Timeout = unset.Timeout
		case OptionDeadline:
			o.Deadline = unset.Deadline
		case OptionID:
			if goodID(in.ID) { // else somebody has set the field
				in.issued = in.ID
			}
		case OptionUnique:
			o.Unique = unset.Unique
		case OptionHeader:
			c := *in.held()
			c.headers = Headers{}
			in.hold(c)
		case OptionNative:
			c := *in.held()
			c.native = nil
			in.hold(c)
		}
	}
	return in
}

// With returns the intent with further options, which win over those it has.
// It validates like [Task.Intent].
func (in Intent) With(opts ...Option) (Intent, error) {
	if err := in.validate(); err != nil {
		return Intent{}, err
	}
	old := in.held()
	s := settings{Options: in.Options, headers: old.headers, native: slices.Clip(old.native)}
	timed := false
	for i := range opts {
		if err := s.apply(&opts[i]); err != nil {
			return Intent{}, about("task "+in.Task, err)
		}
		timed = timed || opts[i].name == OptionDelay || opts[i].name == OptionDeadline
	}
	if timed {
		if err := s.resolve(time.Now()); err != nil {
			return Intent{}, about("task "+in.Task, err)
		}
	}
	in.Options = s.Options
	in.hold(content{payload: old.payload, headers: s.headers, native: s.native, handler: old.handler})
	if s.id != "" {
		in.ID, in.issued = s.id, ""
	}
	return in, nil
}

// DeriveID returns the intent with an ID that follows from the parent job's ID,
// the intent's own task and payload, and its occurrence among equal ones: a
// parent that runs again makes the same children again, and the backend sees
// the same jobs. The ID still counts as generated. An intent whose ID the
// caller chose is returned as it is.
func (in Intent) DeriveID(parent string, occurrence int) Intent {
	if in.generated() {
		in.issued = derivedID([]byte(parent), []byte(in.Task), in.held().payload, strconv.AppendInt(nil, int64(occurrence), 10))
		in.ID = in.issued
	}
	return in
}

// Validate judges the intent by itself, without an executor: [ErrInvalid] for
// the zero Intent and for fields that were set to what no option allows. An
// intent that [Task.Intent] made is valid.
func (in Intent) Validate() error { return in.validate() }

func (in *Intent) validate() error {
	if in.Task == "" && in.ID == "" {
		return invalidf("zero Intent: intents are made by Task.Intent")
	}
	if err := checkTaskName(in.Task); err != nil {
		return err
	}
	if err := checkID(in.ID); err != nil {
		return about("task "+in.Task, err)
	}
	if err := in.Options.check(); err != nil {
		return about("task "+in.Task, err)
	}
	return nil
}

// Delivery returns the intent as a first delivery of its job, for executors
// that run jobs in this process.
func (in Intent) Delivery() Delivery {
	c := in.held()
	return Delivery{
		ID: in.ID, Task: in.Task, Payload: c.payload, Headers: c.headers,
		Queue: in.Options.Queue, Attempt: 1, MaxAttempts: in.Options.MaxAttempts,
		Backoff: in.Options.Backoff, Timeout: in.Options.Timeout, Deadline: in.Options.Deadline,
		handler: c.handler,
	}
}

// Run runs the intent here, once, through [Registry.Perform], with the handler
// that [NewTask] gave it. A failure is a [*DispatchError] whose outcome is
// [Failed] with the handler's own error, [Rejected] with [ErrNoHandler], or
// [NotSent] if ctx was done before the handler was called.
// With it the simplest executor is one line:
//
//	core.Each(core.Capabilities{}, func(ctx context.Context, in core.Intent) error { return in.Run(ctx) })
//
// The handler sees ctx end, but none of its values.
func (in Intent) Run(ctx context.Context) error {
	if err := checkContext(ctx); err != nil {
		return err
	}
	if err := in.validate(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return Combine([]Outcome{in.outcome(NotSent, contextError(ctx))})
	}
	var none *Registry
	return in.outcomeOf(none.Perform(WithoutValues(ctx), in.Delivery()))
}

func (in *Intent) outcomeOf(v Verdict) error {
	if v.Action == Done {
		return nil
	}
	state := Failed
	if v.Unhandled() {
		state = Rejected
	}
	return Combine([]Outcome{in.outcome(state, v.Err)})
}

func (in *Intent) outcome(s State, err error) Outcome {
	return Outcome{ID: in.ID, State: s, Err: err, Task: in.Task, Queue: in.Options.Queue}
}

// String returns the intent's task and ID, and its queue if it has one.
func (in Intent) String() string { return identity(in.Task, in.ID, in.Options.Queue) }

// Format prints the same as String for every verb, so that no verb can print
// the payload.
func (in Intent) Format(s fmt.State, _ rune) { io.WriteString(s, in.String()) } // fmt keeps it

// LogValue logs the intent's ID, task and queue.
func (in Intent) LogValue() slog.Value { return identityValue(in.Task, in.ID, in.Options.Queue) }

func identity(task, id, queue string) string {
	if queue == "" {
		return task + " " + id
	}
	return task + " " + id + " on " + queue
}

func identityValue(task, id, queue string) slog.Value {
	attrs := []slog.Attr{slog.String("task", task), slog.String("id", id)}
	if queue != "" {
		attrs = append(attrs, slog.String("queue", queue))
	}
	return slog.GroupValue(attrs...)
}
