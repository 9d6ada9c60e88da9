package core

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

// Task is a kind of work, with arguments of type A: a name, default options and
// a codec. It is immutable and safe as a package variable. It is made by
// [DeclareTask] where domain code only names what should happen, and by
// [NewTask] where the handler is at hand.
type Task[A any] struct {
	name     string
	defaults settings
	codec    Codec
	handler  *Handler // what NewTask was given
	err      error    // what is wrong with the declaration
}

var errZeroTask = invalidf("zero Task: tasks are made by DeclareTask or NewTask")

// DeclareTask names a task and gives its default options. A bad name or option
// does not panic, since tasks are package variables: it is returned by
// [Task.Intent] and, through [Handle], by [NewRegistry].
//
// Names are 2 to 127 of A-Z a-z 0-9 _ . : / + - with a letter, digit or _
// first, and no empty part between dots.
func DeclareTask[A any](name string, defaults ...Option) Task[A] {
	t := Task[A]{name: name, codec: JSON, err: checkTaskName(name)}
	for i := range defaults {
		if t.err != nil {
			break
		}
		if err := t.defaults.apply(&defaults[i]); err != nil {
			t.err = about("task "+name+": default", err)
		}
	}
	if t.err == nil && t.defaults.id != "" {
		t.err = invalidf("task %s: option id cannot be a default: every intent would be the same job", clip(name))
	}
	return t
}

// NewTask is [DeclareTask] and [Handle] in one, for small programs: its intents
// know how to run themselves, so that an executor of this process needs no
// [Registry]. A nil fn is [ErrInvalid], told like a bad name.
func NewTask[A any](name string, fn func(ctx context.Context, args A) error, defaults ...Option) Task[A] {
	t := DeclareTask[A](name, defaults...)
	h := Handle(t, fn)
	if t.err == nil {
		t.err = h.err
	}
	t.handler = &h
	return t
}

// Codec returns the task with another codec in place of [JSON]. A nil codec is
// [ErrInvalid], told like a bad name. Give the codec before the task is
// handled: its producers and its handlers must agree.
func (t Task[A]) Codec(c Codec) Task[A] {
	if c == nil && t.err == nil {
		t.err = invalidf("task %s: nil codec", clip(t.name))
	}
	t.codec = c
	if t.handler != nil {
		h := *t.handler
		h.codec, h.err = c, t.err
		t.handler = &h
	}
	return t
}

// Name returns the task's name.
func (t Task[A]) Name() string { return t.name }

// Handler returns the handler that [NewTask] was given, for a [Registry]. For a
// task that was only declared it is one that NewRegistry refuses.
func (t Task[A]) Handler() Handler {
	if t.handler != nil {
		return *t.handler
	}
	return Handler{name: t.name, err: invalidf("task %s: declared without a handler, use Handle", clip(t.name))}
}

// Intent makes an intent to run the task with these arguments. It merges the
// task's defaults with opts, resolves delays, encodes the arguments and
// validates everything, so that later changes to args cannot reach the job and
// whatever is wrong is told here: every error is [ErrInvalid] and names what
// it is about.
func (t Task[A]) Intent(args A, opts ...Option) (Intent, error) {
	if t.err != nil {
		return Intent{}, t.err
	}
	if t.name == "" {
		return Intent{}, errZeroTask
	}
	s := t.defaults
	for i := range opts {
		if err := s.apply(&opts[i]); err != nil {
			return Intent{}, about("task "+t.name, err)
		}
	}
	now := time.Now()
	if err := s.resolve(now); err != nil {
		return Intent{}, about("task "+t.name, err)
	}
	payload, err := encode(t.codec, args)
	if err != nil {
		return Intent{}, about("task "+t.name, err)
	}
	in := Intent{ID: s.id, Task: t.name, Options: s.Options}
	in.hold(content{payload: payload, headers: s.headers, native: s.native, handler: t.handler})
	if in.ID == "" {
		in.issued = newID(now)
		in.ID = in.issued
	}
	return in, nil
}

// Args decodes the arguments of an intent of this task: for tests, and for
// executors that call typed functions themselves. An intent of another task, or
// a payload that cannot be decoded, is [ErrInvalid].
func (t Task[A]) Args(in Intent) (args A, err error) {
	switch {
	case t.err != nil:
		return args, t.err
	case t.name == "":
		return args, errZeroTask
	case in.Task != t.name:
		return args, invalidf("an intent of task %s has no arguments of task %s", clip(in.Task), t.name)
	}
	if err := decode(t.codec, in.held().payload, &args); err != nil {
		return args, about("task "+t.name, err)
	}
	return args, nil
}

// encode contains the panics of a codec, and of the Marshalers below it.
func encode(c Codec, args any) (payload []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			payload, err = nil, codecPanic("encoding", args, v)
		}
	}()
	payload, err = c.Encode(args)
	return payload, asInvalid(err)
}

// decode contains the panics of a codec, and of the Unmarshalers below it.
func decode[A any](c Codec, payload []byte, args *A) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = codecPanic("decoding", args, v)
		}
	}()
	return asInvalid(c.Decode(payload, args))
}

// codecPanic leaves the panic's value out of its text: it may hold arguments.
func codecPanic(doing string, args, v any) error {
	return &markedError{
		text: fmt.Sprintf("airlock: %s arguments of type %T panicked", doing, args),
		mark: ErrInvalid, cause: &PanicError{Value: v, Stack: debug.Stack()},
	}
}

func asInvalid(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, ErrInvalid) {
		return err
	}
	return &markedError{text: err.Error(), mark: ErrInvalid, cause: err}
}

// Handler is a task's name and the function that does its work, as a value for
// [NewRegistry]. It is made by [Handle] or [Task.Handler].
type Handler struct {
	name  string
	codec Codec
	err   error
	call  func(ctx context.Context, codec Codec, payload []byte) error
}

// Handle joins a task with the function that does its work. What is wrong with
// either is told by [NewRegistry].
//
// The function returns nil when the work is done, an error when it should be
// tried again, [Permanent] when trying again is no use, and [Snooze] to be
// called again later without that having been an attempt. Its context ends
// with the task's Timeout and Deadline and when the worker stops; [JobFrom]
// tells it which job and attempt it is. It must be safe for concurrent use,
// and as every queue delivers at least once, safe to run again.
func Handle[A any](t Task[A], fn func(ctx context.Context, args A) error) Handler {
	h := Handler{name: t.name, codec: t.codec, err: t.err}
	switch {
	case h.err != nil:
	case t.name == "":
		h.err = errZeroTask
	case fn == nil:
		h.err = invalidf("task %s: nil handler", clip(t.name))
	}
	h.call = func(ctx context.Context, codec Codec, payload []byte) error {
		var args A
		if err := decode(codec, payload, &args); err != nil {
			return Permanent(about("task "+t.name, err))
		}
		return fn(ctx, args)
	}
	return h
}

// Task returns the name of the task that the handler is for.
func (h Handler) Task() string { return h.name }
