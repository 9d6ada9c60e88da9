package compose

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/goairlock/airlock/core"
)

// MirrorOptions tune a [Mirror]. The zero value works.
type MirrorOptions struct {
	// Buffer is how many copies may wait or be under way. 0 means 1000. When it
	// is full, further ones are dropped and counted.
	Buffer int

	// Timeout bounds each call of the second executor. 0 means 10 seconds.
	Timeout time.Duration

	// OnError, if set, is told of each call in which a copy was neither accepted
	// nor a duplicate, with the call's [*core.DispatchError]. It is called on the
	// Mirror's goroutine, so while it runs no copies are sent; its panic is
	// contained and logged with slog's default logger.
	OnError func(err error)
}

const (
	defaultBuffer        = 1000
	defaultMirrorTimeout = 10 * time.Second
	mirrorBatch          = 100 // copies per call of the second executor
)

// Mirror copies what one executor has accepted to a second one: to watch a new
// backend under real load before it counts. The second can neither fail nor
// slow the first. Copies wait in a bounded buffer, are sent in order by one
// goroutine, and are dropped when the buffer is full.
//
// Only what the first Accepted is copied: what it refused or may not have
// stored would make the second one's record differ, and a duplicate was copied
// when it was new. A copy has the ID and everything else of its intent. Nothing
// of the producer's context reaches the second executor, no values and no end.
//
// A copy that the second executor does not accept is told to OnError and
// forgotten; give WithRetry(second, …) to have it tried again. One that it
// refuses does not keep others from being copied.
//
// A Mirror owns a goroutine from [NewMirror] to [Mirror.Stop]. It is safe for
// concurrent use and may wrap several executors.
type Mirror struct {
	second core.Executor
	opts   MirrorOptions
	ctx    context.Context // of the calls; ends when Stop is out of patience
	cancel context.CancelFunc
	wake   chan struct{} // has room for one: there is something to look at
	done   chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex
	waiting []core.Intent // guarded by mu
	held    int           // guarded by mu; waiting and under way, at most opts.Buffer
	stopped bool          // guarded by mu
	stats   MirrorStats   // guarded by mu
}

// MirrorStats counts what became of the copies of a [Mirror].
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
	if err := missing("NewMirror", second); err != nil {
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

// Wrap returns first with every intent that it accepts copied to the second
// executor. The outcome is first's alone.
func (m *Mirror) Wrap(first core.Executor) core.Executor {
	bad := missing("Mirror.Wrap", first)
	if m == nil || m.second == nil {
		bad = errZeroMirror
	}
	return wrap(bad, func(ctx context.Context, intents []core.Intent) []core.Outcome {
		out := call(ctx, first, intents)
		m.add(intents, out)
		return out
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
// If ctx ends first, those not yet sent are dropped, the call under way has its
// context ended, and Stop returns the context's error at once; call it again to
// wait for that call. The executors that were wrapped go on without copies,
// which count as dropped.
func (m *Mirror) Stop(ctx context.Context) error {
	switch {
	case m == nil || m.second == nil:
		return errZeroMirror
	case ctx == nil:
		return invalidf("nil context")
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
		return contextError(ctx)
	}
}

func (m *Mirror) poke() {
	select {
	case m.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// add takes copies of the accepted intents; out is call's answer.
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

// run sends what waits until it is stopped and nothing waits any more. A second
// executor that ends its goroutine by runtime.Goexit gets another one.
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
		switch {
		case len(copies) > 0:
			m.send(copies)
			clear(copies) // the array is used again, the payloads are not
		case stopped:
			finished = true
			return
		default:
			<-m.wake
		}
	}
}

// send copies in calls of mirrorBatch, and gives up what is left when Stop has
// lost patience or the goroutine is ended.
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
	out := every(batch, core.Unknown, errGoexit)
	defer func() { m.account(batch, out) }()
	answer := call(ctx, m.second, batch)
	if answer != nil {
		withoutRefused(ctx, m.second, batch, answer)
	}
	out = answer
}

var errGoexit = errors.New("airlock: the second executor ended its goroutine with runtime.Goexit")

func (m *Mirror) account(batch []core.Intent, out []core.Outcome) {
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
	if failed > 0 && m.opts.OnError != nil {
		contain("OnError", func() { m.opts.OnError(core.Combine(out)) })
	}
}
