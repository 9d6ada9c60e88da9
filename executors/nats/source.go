package natsexec

import (
	"sync/atomic"
	"time"
)

// A source is one lane of one queue, with the consumer that serves it.
type source struct {
	queue   string // its portable name
	native  string // its name in subjects
	kind    string
	prefix  string // of its jobs' subjects, up to the task
	weight  int
	ackWait atomic.Int64 // of the consumer, as a time.Duration
	bounded atomic.Bool  // the consumer has a limit of unacknowledged messages

	// Of the feeder's goroutine.
	credit    int       // of the weighted round
	dealt     int       // slots that it is about to get
	idleUntil time.Time // it was found empty: not asked again before
	lines     []*line
	sick      bool // not asked for jobs until its consumer was found, and fits
	misfit    bool // that was found and does not fit
	pause     time.Duration
	retryAt   time.Time // it is asked for jobs, or its consumer is looked for, not before
	checking  bool      // its consumer is being looked for
	again     bool      // and is looked for once more
	checkedAt time.Time
	lastSeq   uint64     // of the consumer's deliveries
	held      []delivery // until the consumer was looked at
}

func newSource(stream, queue, native, kind string, weight int) *source {
	return &source{
		queue: queue, native: native, kind: kind, weight: weight,
		prefix: stream + "." + kind + "." + native + ".", checkedAt: time.Now(),
	}
}

// lease is how long the server leaves a job to a worker that gives no sign.
func (s *source) lease() time.Duration { return time.Duration(s.ackWait.Load()) }

// durable is the consumer's name.
func (s *source) durable() string { return durableOf(s.native, s.kind) }

// ready reports whether the source can be asked for jobs.
func (s *source) ready(now time.Time) bool { return !s.sick && !now.Before(s.retryAt) }

// open counts the source's requests that may still bring jobs, and those of them that
// wait for jobs at the server.
func (s *source) open() (all, waiting int) {
	for _, l := range s.lines {
		if l.left > 0 {
			all++
			if l.wait > 0 {
				waiting++
			}
		}
	}
	return all, waiting
}

// oldest is when the oldest of its open requests was made.
func (s *source) oldest() time.Time {
	oldest := time.Now()
	for _, l := range s.lines {
		if l.left > 0 && l.asked.Before(oldest) {
			oldest = l.asked
		}
	}
	return oldest
}

// mostCredit returns the source that is next in a smooth weighted round robin: every one
// gains its weight, and the one with the most credit is chosen and pays the sum of the
// weights. It is charged by charge.
func mostCredit(sources []*source, eligible func(*source) bool) *source {
	var best *source
	for _, s := range sources {
		if eligible(s) && (best == nil || s.credit+s.weight > best.credit+best.weight) {
			best = s
		}
	}
	return best
}

func charge(sources []*source, eligible func(*source) bool, chosen *source) {
	for _, s := range sources {
		if eligible(s) {
			s.credit += s.weight
			chosen.credit -= s.weight
		}
	}
}
