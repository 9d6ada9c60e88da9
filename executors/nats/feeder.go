package natsexec

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/goairlock/airlock/core"
)

// A feeder fills the worker's free slots with jobs. All of it belongs to the goroutine
// of run. No source waits for another one: requests are answered on lines, and a
// consumer is looked for on a goroutine of its own.
type feeder struct {
	w         *Worker
	answers   chan *nats.Msg // of all lines
	lines     map[*nats.Subscription]*line
	checked   chan checkedSource
	free      int             // slots without a job and without a request
	numbers   uint64          // of requests
	epoch     uint64          // of the connection: how often it was lost
	lastError error           // of the connection, as far as it was looked at
	ctx       context.Context // of run
}

// A delivery is a message with what is known of how it came.
type delivery struct {
	source *source
	msg    *nats.Msg
	meta   *nats.MsgMetadata
	asked  time.Time // when it was asked for
}

// mostLines is how many requests a source has at a time. The second one is under way
// while the jobs of the first begin.
const mostLines = 2

func (w *Worker) newFeeder() *feeder {
	return &feeder{
		w: w, free: w.opts.Concurrency, lines: map[*nats.Subscription]*line{},
		// Jobs have slots. The rest is for the ends of requests, also of earlier ones.
		answers: make(chan *nats.Msg, w.opts.Concurrency+16*mostLines*len(w.sources)),
		checked: make(chan checkedSource, len(w.sources)),
		epoch:   w.conn.Stats().Reconnects, lastError: w.conn.LastError(),
	}
}

// run feeds until ctx ends. Then it waits for what is on its way.
func (f *feeder) run(ctx context.Context) {
	f.ctx = ctx
	tick := time.NewTicker(lookAfter)
	defer tick.Stop()
	for ctx.Err() == nil {
		f.deal(time.Now())
		select {
		case m := <-f.answers:
			f.takeAll(m)
		case <-f.w.wake:
			// More slots are about to become free where handlers are short. One request for
			// all of them: a job took 0.87 of the time at 10 slots.
			runtime.Gosched()
		case c := <-f.checked:
			f.afterCheck(c)
		case <-tick.C:
			f.look()
		case <-ctx.Done():
		}
	}
	for _, s := range f.w.sources {
		f.dropHeld(s)
	}
	for f.open() {
		select {
		case m := <-f.answers:
			f.takeAll(m)
		case <-tick.C:
			f.lookAtLines()
		}
	}
	for _, l := range f.lines {
		l.sub.Unsubscribe()
	}
}

func (f *feeder) open() bool {
	for _, l := range f.lines {
		if l.left > 0 {
			return true
		}
	}
	return false
}

func (f *feeder) takeAll(m *nats.Msg) {
	for {
		f.take(m)
		select {
		case m = <-f.answers:
		default:
			return
		}
	}
}

// take starts a job, or ends a request.
func (f *feeder) take(m *nats.Msg) {
	l := f.lines[m.Sub]
	if l == nil {
		return // of a line that was given up
	}
	s := l.source
	if status := m.Header.Get("Status"); status != "" && m.Reply == "" {
		if !l.answersTo(m) {
			return
		}
		nothing := l.left == l.batch
		f.end(l)
		if err := endOfRequest(status, m.Header.Get("Description")); err != nil {
			f.failed(s, err)
			return
		}
		f.answered(s)
		if nothing || l.wait == 0 {
			s.idleUntil = time.Now().Add(stayIdleFor)
		}
		return
	}
	if l.left == 0 {
		return // more than was asked for: there is no slot
	}
	l.left--
	f.answered(s)
	meta, err := m.Metadata()
	if err != nil {
		f.free++
		f.w.logForeign(m, err)
		return
	}
	f.begin(delivery{s, m, meta, l.asked})
}

// stayIdleFor is how long a source that was found empty is not asked again.
const stayIdleFor = 50 * time.Millisecond

func (f *feeder) answered(s *source) {
	if s.sick { // an answer to a request of before
		return
	}
	s.pause = 0
	f.w.health.back(f.w.opts.Logger, s)
}

// The pause after a request that failed, doubled each time.
const (
	firstAfterError   = 500 * time.Millisecond
	longestAfterError = 5 * time.Second
)

// failed lets a source rest after a request that failed. The others go on.
func (f *feeder) failed(s *source, err error) {
	if f.w.conn.IsClosed() {
		f.w.stop(fmt.Errorf("airlock: nats: %w", nats.ErrConnectionClosed))
		return
	}
	if !f.w.conn.IsConnected() {
		f.w.health.lost(f.w.opts.Logger, nil, nats.ErrDisconnected)
		return
	}
	f.w.health.lost(f.w.opts.Logger, s, err)
	s.pause = min(max(2*s.pause, firstAfterError), longestAfterError)
	s.retryAt = time.Now().Add(s.pause)
	// The consumer may be gone, or another one by now.
	if errors.Is(err, errConsumerGone) {
		s.sick, s.retryAt = true, time.Time{}
	} else if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, core.ErrInvalid) {
		s.sick = true
	}
}

// look sees to what did not announce itself.
func (f *feeder) look() {
	f.lookAtLines()
	now := time.Now()
	for _, s := range f.w.sources {
		due := s.sick && !now.Before(s.retryAt) || now.Sub(s.checkedAt) > checkEvery
		if due && f.w.conn.IsConnected() {
			f.check(s)
		}
	}
}

// lookAtLines ends requests that will not be answered.
func (f *feeder) lookAtLines() {
	conn := f.w.conn
	epoch, connected := conn.Stats().Reconnects, conn.IsConnected()
	for _, l := range f.lines {
		if l.left > 0 && (l.epoch != epoch || !connected) { // the server forgot the request
			f.hangUp(l)
		}
	}
	if epoch != f.epoch || !connected {
		f.epoch = epoch
		for _, s := range f.w.sources {
			s.pause, s.retryAt, s.idleUntil = 0, time.Time{}, time.Time{}
		}
		if conn.IsClosed() {
			f.w.stop(fmt.Errorf("airlock: nats: %w", nats.ErrConnectionClosed))
		} else if !connected {
			f.w.health.lost(f.w.opts.Logger, nil, nats.ErrDisconnected)
		}
	}
	v := violation(conn, f.lastError)
	if v != nil {
		f.lastError = v
	}
	now := time.Now()
	for _, l := range f.lines {
		switch {
		case l.left == 0:
		case v != nil && (deniedSubject(v) == f.pullSubject(l.source) || strings.Contains(v.Error(), l.inbox)):
			f.hangUp(l)
			f.failed(l.source, &deniedError{v})
		case now.After(l.limit()):
			f.hangUp(l)
			f.failed(l.source, nats.ErrTimeout)
		}
	}
}
