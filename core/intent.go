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

// Intent says that a task should be run. It has the task's name, the encoded
// arguments, the dispatch options and an ID. [Task.Intent] makes it, or
// UnmarshalJSON or UnmarshalBinary decodes it. From then on it is immutable: an
// executor may keep it and share it, and must not change what its methods return.
//
// Printed or logged, an Intent shows its ID, task and queue. It never shows its
// payload or headers.
type Intent struct {
	ID      string  // the job's identity on every backend
	Task    string  // the task's name
	Options Options // the dispatch options, resolved

	_       [0]func() // no ==: compare IDs
	issued  string    // the generated ID; "" if the caller chose it
	content hidden[content]
	extras  bool // content has headers or native options
}

// content is the part of an intent that must not be printed.
type content struct {
	payload []byte
	headers Headers
	native  []nativeValue
	fn      *taskFunc // of NewTask
}

var noContent content

func (in *Intent) held() *content {
	if c := in.content.get(); c != nil {
		return c
	}
	return &noContent
}

// hold sets the intent's content.
func (in *Intent) hold(c content) {
	in.content, in.extras = hide(c), c.headers.Len() > 0 || len(c.native) > 0
}

// generated reports whether the ID was generated. A generated ID is valid, so its
// bytes need no check. The comparison is fast, since both strings usually share
// their bytes.
func (in *Intent) generated() bool { return in.issued != "" && in.ID == in.issued }

// Payload returns the encoded arguments. The caller must not change them.
func (in Intent) Payload() []byte { return in.held().payload }

// Headers returns the headers.
func (in Intent) Headers() Headers { return in.held().headers }

// ChosenID reports whether the caller chose the ID with the option [ID]. If so,
// the same intent sent again is a [Duplicate]. Otherwise it is [Accepted] again.
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

// has is Has without a copy of the intent, for the hot path of Capabilities.Check.
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

// bare reports whether no option is set, as on most intents of a large call.
// Capabilities.CheckCall then need not look at each option.
func (in *Intent) bare() bool {
	o := &in.Options
	return !in.extras && in.generated() &&
		o.Queue == "" && o.Priority == 0 && o.MaxAttempts == 0 && o.Timeout == 0 && o.Unique == "" &&
		o.Backoff.IsZero() && o.At.IsZero() && o.Deadline.IsZero()
}

// Has reports whether an option is set. [OptionID] is set if the caller chose the
// ID.
func (in Intent) Has(name OptionName) bool { return in.has(name) }

// Without returns the intent with these options unset. Unsetting [OptionID] keeps
// the ID, which then counts as generated.
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
			if goodID(in.ID) { // the field may have been set to anything
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

// With returns the intent with further options, which replace those it has. It
// validates them like [Task.Intent].
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
	in.hold(content{payload: old.payload, headers: s.headers, native: s.native, fn: old.fn})
	if s.id != "" {
		in.ID, in.issued = s.id, ""
	}
	return in, nil
}

// DeriveID returns the intent with an ID computed from the parent job's ID, the
// intent's task and payload, and its occurrence among intents with the same task
// and payload. If the parent runs again, its children get the same IDs, and the
// backend sees the same jobs. The ID still counts as generated. If the caller
// chose the ID, DeriveID returns the intent unchanged.
func (in Intent) DeriveID(parent string, occurrence int) Intent {
	if in.generated() {
		in.issued = derivedID([]byte(parent), []byte(in.Task), in.held().payload, strconv.AppendInt(nil, int64(occurrence), 10))
		in.ID = in.issued
	}
	return in
}

// Validate checks the intent without an executor. It returns [ErrInvalid] for the
// zero Intent and for fields with values that no option allows. An intent from
// [Task.Intent] is valid.
func (in Intent) Validate() error { return in.validate() }

func (in *Intent) validate() error {
	if in.Task == "" && in.ID == "" {
		return invalidf("zero Intent: intents are made by Task.Intent")
	}
	if err := checkTaskName(in.Task); err != nil {
		return err
	}
	if err := ValidateID(in.ID); err != nil {
		return about("task "+in.Task, err)
	}
	if err := in.Options.Validate(); err != nil {
		return about("task "+in.Task, err)
	}
	return nil
}

// Func returns a function that decodes this intent's arguments and calls the
// function of its [NewTask] task with them. It returns nil if the intent is not
// from such a task. The returned function does not recover panics, but
// [Intent.Run] does.
func (in Intent) Func() func(ctx context.Context) error {
	c := in.held()
	if c.fn == nil || c.fn.task != in.Task {
		return nil
	}
	return func(ctx context.Context) error { return c.fn.call(ctx, c.payload) }
}

// Run runs the intent once, in this goroutine: it decodes the arguments, calls the
// function of the [NewTask] task and recovers its panic. The function's context
// ends when ctx ends but has none of its values. Run returns a [*DispatchError]
// with the outcome [Failed] and the function's error, [Rejected] and
// [ErrNoHandler] if there is no function, or [NotSent] if ctx is already done. An
// invalid intent and a nil ctx are [ErrInvalid].
//
// Run ignores all options. Registry.Perform in package worker applies attempts and
// time limits. With Run the simplest executor is one line:
//
//	adapter.Each(core.Capabilities{}, func(ctx context.Context, in core.Intent) error { return in.Run(ctx) })
//
// Do not write go in.Run(ctx) in a request: the request's context ends with the
// request. Package poolexec runs jobs in the background.
func (in Intent) Run(ctx context.Context) error {
	if ctx == nil {
		return errNilContext
	}
	if err := in.validate(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return Combine([]Outcome{in.Outcome(NotSent, ContextError(ctx))})
	}
	fn := in.Func()
	if fn == nil {
		return Combine([]Outcome{in.Outcome(Rejected, NoHandlerError(in.Task))})
	}
	if err := runContained(WithoutValues(ctx), fn); err != nil {
		return Combine([]Outcome{in.Outcome(Failed, err)})
	}
	return nil
}

func runContained(ctx context.Context, fn func(context.Context) error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicError(v)
		}
	}()
	return Sound(fn(ctx))
}

// Outcome returns an outcome of this intent.
func (in *Intent) Outcome(s State, err error) Outcome {
	return Outcome{ID: in.ID, State: s, Err: err, Task: in.Task, Queue: in.Options.Queue}
}

// String returns the intent's task and ID, and its queue if it has one.
func (in Intent) String() string { return identity(in.Task, in.ID, in.Options.Queue) }

// Format prints the same as String for every verb, so that no verb can print
// the payload.
func (in Intent) Format(s fmt.State, _ rune) { io.WriteString(s, in.String()) } // fmt keeps the error

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
