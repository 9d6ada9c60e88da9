package compose

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/goairlock/airlock/core"
)

// MirrorOptions tune a [Mirror]. The zero value works.
type MirrorOptions struct {
	// Buffer is how many copies may wait or be under way. 0 means 1000. When it
	// is full, further ones are dropped.
	Buffer int

	// Timeout limits each call of the second executor. 0 means 10 seconds.
	Timeout time.Duration

	// Logger logs lost copies, those that failed and those that were dropped, at
	// Warn: one record, "airlock: mirror: copies lost", at most once a second, with
	// the numbers since the last record and the latest error. Nil means
	// [slog.Default], as it is at that time.
	Logger *slog.Logger

	// OnError, if set, gets the [*core.DispatchError] of each call in which a copy
	// was neither accepted nor a duplicate. It is called on the Mirror's goroutine,
	// so no copies are sent while it runs. A panic of it is contained and logged
	// with slog's default logger.
	OnError func(err error)
}

const (
	defaultBuffer        = 1000
	defaultMirrorTimeout = 10 * time.Second
	mirrorBatch          = 100 // copies per call of the second executor
	lossInterval         = time.Second
)

// Mirror copies what one executor has accepted to a second one, to watch a new
// backend under real load before it counts. The second can neither fail nor
// slow the first. Copies wait in a bounded buffer, are sent in order by one
// goroutine, and are dropped when the buffer is full.
//
// Only what the first Accepted is copied. What it refused or may not have stored
// would make the second one's record differ, and a duplicate was copied when it
// was new. A copy has the ID and everything else of its intent. The second
// executor sees neither the values nor the end of the producer's context.
//
// A copy that the second executor does not accept is reported and forgotten; give
// WithRetry(second, …) to have it tried again. One that it refuses does not keep
// others from being copied.
//
// Questions go to the first executor alone.
//
// A Mirror owns a goroutine from [NewMirror] to [Mirror.Stop]. It is safe for
// concurrent use and may wrap several executors.
type Mirror struct {
	second core.Executor
	opts   MirrorOptions
	ctx    context.Context // of the calls; ends when Stop gives up
	cancel context.CancelFunc
	wake   chan struct{} // has room for one: there is something to do
	done   chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex
	waiting []core.Intent // guarded by mu
	held    int           // guarded by mu; waiting and under way, at most opts.Buffer
	stopped bool          // guarded by mu
	stats   MirrorStats   // guarded by mu

	// What has been logged. Only the Mirror's goroutine uses these.
	logged   MirrorStats
	loggedAt time.Time
	lastErr  error // of a call since then
}

// MirrorStats counts the copies of a [Mirror].
type MirrorStats struct {
	Copied  uint64 // accepted by the second executor, or a duplicate there
	Failed  uint64 // not accepted by it
	Dropped uint64 // never given to it: the buffer was full, or Stop came first
}

// NewMirror returns a Mirror to the second executor and starts its goroutine.
// opts may be nil. A nil executor and negative options are [core.ErrInvalid].
func NewMirror(second core.Executor, opts *MirrorOptions) (*Mirror, error) {
	m := &Mirror{second: second, wake: make(chan struct{}, 1), done: make(chan struct{})}
	if opts != nil {
		m.opts = *opts
	}
	if err := needs("NewMirror", second); err != nil {
		return nil, err
	}
	if m.opts.Buffer < 0 {
		return nil, invalidf("NewMirror: buffer of %d, want more than 0", m.opts.Buffer)
	}
	if m.opts.Timeout < 0 {
		return nil, invalidf("NewMirror: timeout of %v, want more than 0", m.opts.Timeout)
	}
	if m.opts.Buffer == 0 {
		m.opts.Buffer = defaultBuffer
	}
	if m.opts.Timeout == 0 {
		m.opts.Timeout = defaultMirrorTimeout
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	go m.run()
	return m, nil
}

// Wrap returns an executor that calls first and copies every intent that first
// accepts to the second executor. The outcome is first's alone.
func (m *Mirror) Wrap(first core.Executor) core.Executor {
	bad := needs("Mirror.Wrap", first)
	if m == nil || m.second == nil {
		bad = errZeroMirror
	}
	return wrap(bad, passOn(first), func(ctx context.Context, intents []core.Intent) error {
		out := call(ctx, first, intents)
		m.add(intents, out)
		return core.Combine(out)
	})
}

var errZeroMirror = invalidf("zero Mirror: mirrors are made by NewMirror")

// Stats returns the counts so far.
func (m *Mirror) Stats() MirrorStats {
	if m == nil {
		return MirrorStats{}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stats
}

// Stop ends the copying and waits until the copies in the buffer have been sent.
// If ctx ends first, those not yet sent are dropped, the context of the call under
// way ends, and Stop returns the context's error at once; call it again to wait
// for that call. The executors that were wrapped go on without copies: these count
// as dropped but are no longer logged.
func (m *Mirror) Stop(ctx context.Context) error {
	switch {
	case m == nil || m.second == nil:
		return errZeroMirror
	case ctx == nil:
		return errNilContext
	}
	m.mu.Lock()
	m.stopped = true
	m.mu.Unlock()
	m.poke()
	select {
	case <-m.done:
		return nil
	default:
	}
	select {
	case <-m.done:
		return nil
	case <-ctx.Done():
		m.cancel()
		return core.ContextError(ctx)
	}
}

func (m *Mirror) poke() {
	select {
	case m.wake <- struct{}{}:
	default: // the goroutine has been woken already
	}
}

// add takes copies of the accepted intents; out is what call returned.
func (m *Mirror) add(intents []core.Intent, out []core.Outcome) {
	m.mu.Lock()
	room := m.opts.Buffer - m.held
	if m.stopped {
		room = 0
	}
	before := m.held
	for i := range intents {
		switch {
		case out != nil && out[i].State != core.Accepted:
		case room == 0:
			m.stats.Dropped++
		default:
			room--
			m.held++
			m.waiting = append(m.waiting, intents[i])
		}
	}
	added := m.held > before
	m.mu.Unlock()
	if added {
		m.poke()
	}
}

// run sends what waits until the Mirror is stopped and nothing waits any more. A
// second executor that ends this goroutine with runtime.Goexit gets another one.
func (m *Mirror) run() {
	finished := false
	defer func() {
		if !finished {
			go m.run()
			return
		}
		m.cancel()
		close(m.done)
	}()
	var copies []core.Intent
	for {
		m.mu.Lock()
		m.waiting, copies = copies[:0], m.waiting
		stopped := m.stopped
		m.mu.Unlock()
		finished = stopped && len(copies) == 0
		next := m.logLosses(finished)
		switch {
		case finished:
			return
		case len(copies) > 0:
			m.send(copies)
			clear(copies) // the array is used again, the payloads are not
		default:
			m.sleep(next)
		}
	}
}

// sleep waits until there is something to do, or until the time d if that is not 0.
func (m *Mirror) sleep(d time.Duration) {
	var due <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-m.wake:
	case <-due:
	}
}

// send sends copies in calls of mirrorBatch. It drops what is left when Stop has
// given up or the goroutine ends.
func (m *Mirror) send(copies []core.Intent) {
	defer func() {
		m.mu.Lock()
		m.stats.Dropped += uint64(len(copies))
		m.held -= len(copies)
		m.mu.Unlock()
	}()
	for len(copies) > 0 && m.ctx.Err() == nil {
		batch := copies[:min(len(copies), mirrorBatch)]
		copies = copies[len(batch):]
		m.copy(batch)
	}
}

func (m *Mirror) copy(batch []core.Intent) {
	ctx, cancel := context.WithTimeout(m.ctx, m.opts.Timeout)
	defer cancel()
	out := core.Outcomes(batch, core.Unknown, errGoexit)
	defer func() { m.count(batch, out) }()
	answer := call(ctx, m.second, batch)
	if answer != nil {
		sendUnrefused(ctx, m.second, batch, answer)
	}
	out = answer
}

var errGoexit = errors.New("airlock: compose: the second executor ended its goroutine with runtime.Goexit")

func (m *Mirror) count(batch []core.Intent, out []core.Outcome) {
	failed := 0
	for i := range out {
		if !settled(out[i].State) {
			failed++
		}
	}
	m.mu.Lock()
	m.held -= len(batch)
	m.stats.Copied += uint64(len(batch) - failed)
	m.stats.Failed += uint64(failed)
	m.mu.Unlock()
	if failed == 0 {
		return
	}
	m.lastErr = core.Combine(out)
	m.logLosses(false)
	if m.opts.OnError != nil {
		contain("OnError", func() { m.opts.OnError(core.Combine(out)) })
	}
}

// logLosses logs the copies lost since the last record, unless that is less than
// lossInterval ago and now is false. It returns how long until it is due, or 0 if
// there is nothing to log.
func (m *Mirror) logLosses(now bool) time.Duration {
	stats := m.Stats()
	failed, dropped := stats.Failed-m.logged.Failed, stats.Dropped-m.logged.Dropped
	if failed+dropped == 0 {
		return 0
	}
	if wait := lossInterval - time.Since(m.loggedAt); wait > 0 && !now {
		return wait
	}
	attrs := []slog.Attr{slog.Uint64("failed", failed), slog.Uint64("dropped", dropped)}
	if m.lastErr != nil {
		attrs = append(attrs, slog.Any("error", m.lastErr))
	}
	m.logged, m.loggedAt, m.lastErr = stats, time.Now(), nil
	contain("Mirror's logger", func() {
		logger := m.opts.Logger
		if logger == nil {
			logger = slog.Default()
		}
		logger.LogAttrs(context.Background(), slog.LevelWarn, "airlock: mirror: copies lost", attrs...)
	})
	return 0
}
