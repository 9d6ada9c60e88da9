package core

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Task is a kind of work with arguments of type A. It has a name, default options
// and a codec. It is immutable and can be a package variable. [DeclareTask] makes
// a task for domain code that does not know the handler. [NewTask] makes a task
// with its handler.
type Task[A any] struct {
	name     string
	defaults settings
	codec    Codec
	fn       func(ctx context.Context, args A) error // of NewTask
	run      *taskFunc                               // calls fn with encoded arguments
	err      error                                   // what is wrong with the declaration
}

// taskFunc calls the function of one task with encoded arguments.
type taskFunc struct {
	task string
	call func(ctx context.Context, payload []byte) error
}

var errZeroTask = invalidf("zero Task: tasks are made by DeclareTask or NewTask")

// DeclareTask makes a task from a name and default options. A bad name or option
// does not panic, since tasks are package variables. [Task.Validate],
// [Task.Intent] and worker.NewRegistry return the error.
//
// A name that is declared twice is one task for the queue, and no producer notices.
// worker.NewRegistry refuses two handlers for it.
//
// A name has 2 to 127 of the characters A-Z a-z 0-9 _ . : / + - and begins with a
// letter, digit or _. No part between dots is empty.
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

// NewTask is [DeclareTask] for small programs. Its intents keep fn, so that
// [Intent.Run] can call it and an executor in this process needs no Registry. A
// nil fn is [ErrInvalid], reported like a bad name.
func NewTask[A any](name string, fn func(ctx context.Context, args A) error, defaults ...Option) Task[A] {
	t := DeclareTask[A](name, defaults...)
	if fn == nil && t.err == nil {
		t.err = invalidf("task %s: nil function", clip(name))
	}
	t.fn = fn
	t.bind()
	return t
}

// bind sets run from fn and codec.
func (t *Task[A]) bind() {
	if t.fn == nil {
		return
	}
	decoder := Task[A]{name: t.name, codec: t.codec, err: t.err}
	fn := t.fn
	t.run = &taskFunc{t.name, func(ctx context.Context, payload []byte) error {
		args, err := decoder.Decode(payload)
		if err != nil {
			return err
		}
		return fn(ctx, args)
	}}
}

// Codec returns the task with another codec instead of [JSON]. A nil codec is
// [ErrInvalid], reported like a bad name. Producers and handlers of a task must
// use the same codec.
func (t Task[A]) Codec(c Codec) Task[A] {
	if c == nil && t.err == nil {
		t.err = invalidf("task %s: nil codec", clip(t.name))
	}
	t.codec = c
	t.bind()
	return t
}

// Name returns the task's name.
func (t Task[A]) Name() string { return t.name }

// Func returns the function of a [NewTask] task, or nil.
func (t Task[A]) Func() func(ctx context.Context, args A) error { return t.fn }

// Defaults returns the task's default options without [Delay], headers and native
// options.
func (t Task[A]) Defaults() Options { return t.defaults.Options }

// Validate checks the declaration. It returns [ErrInvalid] for the zero Task, a
// bad name, a bad default option, or a nil function or codec.
func (t Task[A]) Validate() error {
	if t.err == nil && t.name == "" {
		return errZeroTask
	}
	return t.err
}

// Intent makes an intent to run the task with these arguments. It merges the
// task's defaults with opts, turns a delay into a time, encodes the arguments and
// validates everything. Later changes to args do not affect the intent. Every
// error is [ErrInvalid] and names the task.
func (t Task[A]) Intent(args A, opts ...Option) (Intent, error) {
	if err := t.Validate(); err != nil {
		return Intent{}, err
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
	in.hold(content{payload: payload, headers: s.headers, native: s.native, fn: t.run})
	if in.ID == "" {
		in.issued = newID(now)
		in.ID = in.issued
	}
	return in, nil
}

// Args decodes the arguments of an intent of this task, for tests and for
// executors that call typed functions themselves. An intent of another task is
// [ErrInvalid]. Other errors are those of [Task.Decode].
func (t Task[A]) Args(in Intent) (args A, err error) {
	if err := t.Validate(); err != nil {
		return args, err
	}
	if in.Task != t.name {
		return args, invalidf("an intent of task %s has no arguments of task %s", clip(in.Task), t.name)
	}
	return t.Decode(in.held().payload)
}

// Decode decodes encoded arguments of this task. Its error is [ErrInvalid] and
// names the task. If the payload is not in the codec's format, so that no version
// of the task can read it, errors.Is also finds [ErrMalformed].
func (t Task[A]) Decode(payload []byte) (args A, err error) {
	if err := t.Validate(); err != nil {
		return args, err
	}
	if err := decode(t.codec, payload, &args); err != nil {
		return args, about("task "+t.name, err)
	}
	return args, nil
}

// encode recovers panics of a codec, and of the Marshalers that it calls.
func encode(c Codec, args any) (payload []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			payload, err = nil, codecPanic("encoding", args, v)
		}
	}()
	payload, err = c.Encode(args)
	return payload, asInvalid(err)
}

// decode recovers panics of a codec, and of the Unmarshalers that it calls.
func decode[A any](c Codec, payload []byte, args *A) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = codecPanic("decoding", args, v)
		}
	}()
	return asInvalid(c.Decode(payload, args))
}

// codecPanic returns an error whose text omits the panic's value, which may hold
// arguments.
func codecPanic(doing string, args, v any) error {
	return &markedError{
		text: fmt.Sprintf("airlock: %s arguments of type %T panicked", doing, args),
		mark: ErrInvalid, cause: panicError(v),
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
