package core

import "time"

// BackoffPolicy says how long to wait before a failed job runs again: First
// after the first attempt, twice as long after each further one, never more
// than Max. [Fixed] and [Exponential] make a policy, and the option [Backoff]
// sets it. The zero value is no policy: the backend's own schedule applies.
type BackoffPolicy struct {
	First time.Duration // the wait after the first attempt
	Max   time.Duration // the longest wait
}

// Fixed waits the same time after every attempt.
func Fixed(wait time.Duration) BackoffPolicy { return BackoffPolicy{First: wait, Max: wait} }

// Exponential waits first after the first attempt and doubles the wait after
// each further one, up to max. There is no jitter. A policy gives the same wait
// wherever it is computed, and retries are already spread by the times at which
// the jobs failed.
func Exponential(first, max time.Duration) BackoffPolicy {
	return BackoffPolicy{First: first, Max: max}
}

// IsZero reports whether there is no policy.
func (b BackoffPolicy) IsZero() bool { return b == BackoffPolicy{} }

// Wait returns how long to wait after the given attempt, counted from 1.
// It returns 0 if there is no policy.
func (b BackoffPolicy) Wait(attempt int) time.Duration {
	wait := b.First
	if wait <= 0 || b.Max <= 0 { // no policy, or an invalid one
		return 0
	}
	for range max(attempt, 1) - 1 {
		if wait >= b.Max-wait { // doubling would reach Max, or overflow
			return b.Max
		}
		wait *= 2
	}
	return min(wait, b.Max)
}

func (b BackoffPolicy) check() error {
	switch {
	case b.First <= 0:
		return invalidf("backoff of %v: want more than 0", b.First)
	case b.Max < b.First:
		return invalidf("backoff from %v to %v: the longest wait is shorter than the first", b.First, b.Max)
	case b.Max > maxSpan:
		return invalidf("backoff of %v: want at most %v", b.Max, maxSpan)
	}
	return nil
}
