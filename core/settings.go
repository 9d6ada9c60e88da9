package core

import (
	"math"
	"time"
)

// The limits of option values. maxSpan keeps every time within an int64 of
// nanoseconds, so that no adapter overflows when it rounds up.
const (
	minPriority = 1
	maxPriority = 10
	maxSpan     = 100 * 365 * 24 * time.Hour
)

// settings collect options: first a task's defaults, then those of one intent.
type settings struct {
	Options
	delay   time.Duration // relative, until resolve
	id      string
	headers Headers
	native  []nativeValue
}

type nativeValue struct {
	executor string
	value    any
}

// apply sets an option and checks everything that does not depend on others.
func (s *settings) apply(o *Option) error {
	switch o.name {
	case OptionQueue:
		s.Queue = o.text
		return checkQueueName(o.text)
	case OptionPriority:
		s.Priority = int(o.num)
		return checkPriority(s.Priority)
	case OptionDelay:
		if o.value != nil { // At
			s.delay, s.At = 0, o.time.Round(0).UTC()
			return checkTime(OptionDelay, s.At)
		}
		s.At, s.delay = time.Time{}, time.Duration(o.num)
		return checkSpan(OptionDelay, s.delay)
	case OptionMaxAttempts:
		s.MaxAttempts = int(o.num)
		return checkMaxAttempts(s.MaxAttempts)
	case OptionBackoff:
		s.Backoff, _ = o.value.(BackoffPolicy)
		return s.Backoff.check()
	case OptionTimeout:
		s.Timeout = time.Duration(o.num)
		return checkSpan(OptionTimeout, s.Timeout)
	case OptionDeadline:
		s.Deadline = o.time.Round(0).UTC()
		return checkTime(OptionDeadline, s.Deadline)
	case OptionID:
		s.id = o.text
		return ValidateID(o.text)
	case OptionUnique:
		s.Unique = o.text
		return checkUnique(o.text)
	case OptionHeader:
		if err := checkHeaderKey(o.key); err != nil {
			return err
		}
		if err := checkHeaderValue(o.key, o.text); err != nil {
			return err
		}
		s.headers = s.headers.with(o.key, o.text)
		if n := s.headers.Size(); n > maxHeaders {
			return invalidf("headers of %d bytes in all, want at most %d", n, maxHeaders)
		}
		return nil
	case OptionNative:
		if o.key == "" || o.value == nil {
			return invalidf("native option without executor or value")
		}
		s.native = append(s.native[:len(s.native):len(s.native)], nativeValue{o.key, o.value})
		return nil
	}
	return invalidf("zero Option: options are made by the functions of core")
}

// resolve turns a delay into a time and checks the times against now.
func (s *settings) resolve(now time.Time) error {
	if s.delay > 0 {
		s.At, s.delay = now.Add(s.delay).Round(0).UTC(), 0
	}
	if s.At.IsZero() && s.Deadline.IsZero() {
		return nil
	}
	limit := now.Add(maxSpan)
	switch {
	case s.At.After(limit):
		return invalidf("option delay: %s is more than 100 years from now", s.At.Format(time.RFC3339))
	case s.Deadline.After(limit):
		return invalidf("option deadline: %s is more than 100 years from now", s.Deadline.Format(time.RFC3339))
	case s.Deadline.IsZero():
		return nil
	case !s.Deadline.After(now):
		return invalidf("option deadline: %s is past", s.Deadline.Format(time.RFC3339))
	case !s.Deadline.After(s.At):
		return invalidf("option deadline: %s is not after %s, the earliest start",
			s.Deadline.Format(time.RFC3339), s.At.Format(time.RFC3339))
	}
	return nil
}

func checkPriority(p int) error {
	if p < minPriority || p > maxPriority {
		return invalidf("option priority: %d, want %d to %d", p, minPriority, maxPriority)
	}
	return nil
}

func checkMaxAttempts(n int) error {
	if n < 1 {
		return invalidf("option max-attempts: %d, want at least 1", n)
	}
	return nil
}

func checkSpan(name OptionName, d time.Duration) error {
	switch {
	case d <= 0:
		return invalidf("option %s: %v, want more than 0", name, d)
	case d > maxSpan:
		return invalidf("option %s: %v, want at most %v", name, d, maxSpan)
	}
	return nil
}

// The first and the last second whose nanoseconds since 1970 an int64 holds.
var (
	minTime = time.Unix(math.MinInt64/int64(time.Second), 0)
	maxTime = time.Unix(math.MaxInt64/int64(time.Second), 0)
)

func checkTime(name OptionName, t time.Time) error {
	switch {
	case t.IsZero():
		return invalidf("option %s: zero time", name)
	case t.Before(minTime) || t.After(maxTime):
		return invalidf("option %s: the year %d is out of range", name, t.Year())
	}
	return nil
}

// DefaultMaxAttempts is the number of runs of a job without [MaxAttempts] that
// fails each time, on every queue.
const DefaultMaxAttempts = 25

// Validate returns [ErrInvalid] for a field with a value that no option allows. It
// does not compare times with now.
func (o *Options) Validate() error {
	if o.Queue != "" {
		if err := checkQueueName(o.Queue); err != nil {
			return err
		}
	}
	if !o.At.IsZero() {
		if err := checkTime(OptionDelay, o.At); err != nil {
			return err
		}
	}
	if !o.Deadline.IsZero() {
		if err := checkTime(OptionDeadline, o.Deadline); err != nil {
			return err
		}
	}
	if o.Priority != 0 {
		if err := checkPriority(o.Priority); err != nil {
			return err
		}
	}
	if o.MaxAttempts != 0 {
		if err := checkMaxAttempts(o.MaxAttempts); err != nil {
			return err
		}
	}
	if !o.Backoff.IsZero() {
		if err := o.Backoff.check(); err != nil {
			return err
		}
	}
	if o.Timeout != 0 {
		if err := checkSpan(OptionTimeout, o.Timeout); err != nil {
			return err
		}
	}
	if o.Unique != "" {
		return checkUnique(o.Unique)
	}
	return nil
}
