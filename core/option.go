package core

import (
	"fmt"
	"io"
	"time"
)

// OptionName names a dispatch option, in errors, in [Capabilities] and in lists of
// options.
type OptionName string

// The portable options. [Delay] and [At] are two ways to set the same option.
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

	// OptionNative is the name of all options that only one queue has. See
	// [NativeOption].
	OptionNative OptionName = "native"
)

// PortableOptions returns the names of all portable options, in the order of the
// documentation.
func PortableOptions() []OptionName {
	return []OptionName{
		OptionQueue, OptionPriority, OptionDelay, OptionMaxAttempts, OptionBackoff,
		OptionTimeout, OptionDeadline, OptionID, OptionUnique, OptionHeader,
	}
}

// Option is one dispatch option. An option of [DeclareTask] is the task's default.
// An option of [Task.Intent] or airlock.Enqueue applies to that intent and
// replaces the default. If an option is given twice, the later one applies.
// Headers with different keys add up.
//
// Without an option the backend's own default applies. An option with a zero
// value, such as Priority(0), is [ErrInvalid]. Values are checked when the intent
// is made. Each executor either honours an option or refuses it.
type Option struct {
	name  OptionName
	key   string // header key, or the executor that a native option is for
	text  string
	num   int64
	time  time.Time
	value any
}

// Format prints the option's name and the key of a header for every verb. It
// prints no value, since headers may hold credentials.
func (o Option) Format(s fmt.State, _ rune) {
	text := "option " + string(o.name)
	if o.key != "" {
		text += " " + clip(o.key)
	}
	io.WriteString(s, text) // fmt keeps the error
}

// Queue sets the queue. Its name consists of words of a-z and 0-9, joined by
// single - or _, and has at most 64 bytes.
func Queue(name string) Option { return Option{name: OptionQueue, text: name} }

// Priority ranks the job among the waiting jobs of its queue: 1 to 10, and a
// higher number runs first. Without it a job ranks as 5. [Capabilities] say how
// strictly an executor keeps priorities.
func Priority(p int) Option { return Option{name: OptionPriority, num: int64(p)} }

// Delay keeps the job from running before d has passed since the intent was made.
// The intent holds the resulting time, so that time spent in a scope counts. d is
// more than 0 and at most 100 years.
func Delay(d time.Duration) Option { return Option{name: OptionDelay, num: int64(d)} }

// At keeps the job from running before t. A time in the past means immediately. t
// is not before the year 1678, where int64 nanoseconds begin, and at most 100
// years from now.
func At(t time.Time) Option { return Option{name: OptionDelay, time: t, value: true} }

// MaxAttempts limits how often the job is run, including the first run. n is at
// least 1. Without it the limit is [DefaultMaxAttempts] on every
// queue.
func MaxAttempts(n int) Option { return Option{name: OptionMaxAttempts, num: int64(n)} }

// Backoff sets how long to wait between attempts. See [Fixed] and
// [Exponential].
func Backoff(policy BackoffPolicy) Option { return Option{name: OptionBackoff, value: policy} }

// Timeout limits each attempt: the handler's context ends when d has passed since
// the attempt began. d is more than 0 and at most 100 years. Without it there is
// no limit, on every executor.
func Timeout(d time.Duration) Option { return Option{name: OptionTimeout, num: int64(d)} }

// Deadline is the time after which the job is neither started nor retried. The
// context of a run ends at the deadline. t must be in the future, after the time
// set by [Delay] or [At], and at most 100 years from now.
func Deadline(t time.Time) Option { return Option{name: OptionDeadline, time: t} }

// ID sets the job's ID, an idempotency key: 1 to 200 bytes of visible ASCII. A
// second intent with the same ID is a [Duplicate] within the executor's ID window.
// Without it every intent gets a new UUID of version 7. It cannot be a task's
// default.
func ID(id string) Option { return Option{name: OptionID, text: id} }

// Unique allows one unfinished job with this key per task and queue. A further one
// is a [Duplicate] until the first has succeeded or failed for good. The key is 1
// to 255 bytes of UTF-8 without control characters.
func Unique(key string) Option { return Option{name: OptionUnique, text: key} }

// Header sets one header. A handler gets the headers from worker.JobFrom. A key
// has letters, digits and -, at most 128 bytes, and is case-sensitive. The prefix
// Airlock- is reserved. A value is UTF-8 without CR, LF and NUL, and may be empty.
// All headers of an intent have at most 32 KiB together.
func Header(key, value string) Option { return Option{name: OptionHeader, key: key, text: value} }

// NativeOption is for executor packages. It holds an option that only the named
// executor understands, and every other executor refuses it. The executor gets
// the values from [Intent.Native], in the order given.
func NativeOption(executor string, value any) Option {
	return Option{name: OptionNative, key: executor, value: value}
}

// Options are the dispatch options of an intent, with absolute times. A zero field
// is an option that is not set. ID, headers and native options are on the [Intent].
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
