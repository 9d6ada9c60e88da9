package core

import (
	"fmt"
	"io"
	"time"
)

// OptionName names a dispatch option, in errors, in [Capabilities] and
// wherever options are listed.
type OptionName string

// The portable options. Delay and At are one option, given in two ways.
const (
	OptionQueue       OptionName = "queue"
	OptionPriority    OptionName = "priority"
	OptionDelay       OptionName = "delay"
	OptionMaxAttempts OptionName = "max-attempts"
	OptionBackoff     OptionName = "backoff"
	OptionTimeout     OptionName = "timeout"
	OptionDeadline    OptionName = "deadline"
	OptionID          OptionName = "id"
	OptionUnique      OptionName = "unique"
	OptionHeader      OptionName = "header"

	// OptionNative stands for the options that one queue alone has, see
	// [NativeOption].
	OptionNative OptionName = "native"
)

// PortableOptions returns the names of all portable options, in the order in
// which documents list them.
func PortableOptions() []OptionName {
	return []OptionName{
		OptionQueue, OptionPriority, OptionDelay, OptionMaxAttempts, OptionBackoff,
		OptionTimeout, OptionDeadline, OptionID, OptionUnique, OptionHeader,
	}
}

// Option is one dispatch option, a value: given to [DeclareTask] it is the
// task's default, given to [Task.Intent] or airlock.Enqueue it holds for that
// intent and wins over the default. Of two options of the same name the later
// one holds; headers add up, key by key.
//
// An option left out means the backend's own default. A zero value that is
// given is not the same as none: it is [ErrInvalid]. Values are checked when
// the intent is made, and each executor either honours an option or refuses it.
type Option struct {
	name  OptionName
	key   string // header key, or the executor that a native option is for
	text  string
	num   int64
	time  time.Time
	value any
}

// Format prints what the option is, and the key of a header, but no value, for
// every verb: headers carry credentials.
func (o Option) Format(s fmt.State, _ rune) {
	text := "option " + string(o.name)
	if o.key != "" {
		text += " " + clip(o.key)
	}
	io.WriteString(s, text) // fmt keeps it
}

// Queue names the queue: words of a-z and 0-9 joined by single - or _, at most
// 64 bytes.
func Queue(name string) Option { return Option{name: OptionQueue, text: name} }

// Priority ranks the intent among the waiting ones of its queue: 1 to 10, a
// higher number runs first. How strictly is the executor's to declare.
func Priority(p int) Option { return Option{name: OptionPriority, num: int64(p)} }

// Delay keeps the job from running before d has passed since the intent was
// made. It is resolved to an absolute time at once, so time spent in a scope
// counts. More than 0, at most 100 years.
func Delay(d time.Duration) Option { return Option{name: OptionDelay, num: int64(d)} }

// At keeps the job from running before t. A time that is past means at once.
// Not before the year 1678, which is where int64 nanoseconds begin, and at most
// 100 years from now.
func At(t time.Time) Option { return Option{name: OptionDelay, time: t, value: true} }

// MaxAttempts bounds how often the job is run in all, the first run included.
// At least 1.
func MaxAttempts(n int) Option { return Option{name: OptionMaxAttempts, num: int64(n)} }

// Backoff sets how long to wait between attempts. See [Fixed] and
// [Exponential].
func Backoff(policy BackoffPolicy) Option { return Option{name: OptionBackoff, value: policy} }

// Timeout bounds each attempt: the handler's context ends when it has passed
// since the attempt began. More than 0, at most 100 years. Without it there is
// no limit, on any executor.
func Timeout(d time.Duration) Option { return Option{name: OptionTimeout, num: int64(d)} }

// Deadline is the moment past which the job is neither started nor retried; a
// run that is under way then has its context ended. It must be in the future
// and after the time set by [Delay] or [At], at most 100 years from now.
func Deadline(t time.Time) Option { return Option{name: OptionDeadline, time: t} }

// ID chooses the job's identity, an idempotency key: 1 to 200 bytes of visible
// ASCII. A second intent of the same ID is a [Duplicate] within the executor's
// ID window. Without it every intent gets an ID of its own, a UUID of version 7.
// It cannot be a task's default.
func ID(id string) Option { return Option{name: OptionID, text: id} }

// Unique allows one unfinished job of this key per task and queue: a further
// one is a [Duplicate] until the first has finished, for good or ill. The key
// is 1 to 255 bytes of UTF-8 without control characters.
func Unique(key string) Option { return Option{name: OptionUnique, text: key} }

// Header sets one header, which the handler finds on its [Job]. Keys are
// letters, digits and -, at most 128 bytes, case-sensitive; the prefix Airlock-
// is reserved. Values are UTF-8 without CR, LF and NUL, and may be empty. All
// headers together: at most 32 KiB.
func Header(key, value string) Option { return Option{name: OptionHeader, key: key, text: value} }

// NativeOption is for executor packages: it carries an option that only the
// named executor understands. Every other executor refuses it. Values reach
// the executor in the order given, through [Intent.Native].
func NativeOption(executor string, value any) Option {
	return Option{name: OptionNative, key: executor, value: value}
}

// Options are the dispatch options of an intent, resolved. Zero fields are
// unset. IDs, headers and native options are asked for on the [Intent].
type Options struct {
	Queue       string
	Priority    int           // 1 to 10, higher first
	At          time.Time     // not before, UTC
	MaxAttempts int           // runs in all
	Backoff     BackoffPolicy // between attempts
	Timeout     time.Duration // per attempt
	Deadline    time.Time     // neither started nor retried after it, UTC
	Unique      string        // one unfinished job per task, queue and key
}
