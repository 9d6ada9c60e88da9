// Package amqplink connects to RabbitMQ, publishes with confirms and consumes. It is what
// the executors that speak AMQP have in common. The form of a message, the queues, and what
// is done with a job differ, and are theirs.
package amqplink

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

const (
	dialLimit  = 30 * time.Second
	firstPause = 100 * time.Millisecond // after something that failed, doubled
	longPause  = 2 * time.Second
	closeLimit = 2 * time.Second
)

// Link makes connections, one at a time, and keeps the last one.
type Link struct {
	dial  func(context.Context) (*amqp.Connection, error)
	name  Name
	log   *slog.Logger
	attrs []slog.Attr

	alive context.Context // ends when the link is closed
	end   context.CancelFunc
	dials sync.WaitGroup

	mu      sync.Mutex
	conn    *amqp.Connection // guarded by mu
	pending *dialing         // guarded by mu; the one under way
	pause   time.Duration    // guarded by mu; before the next one
	down    bool             // guarded by mu; the loss was logged
	closed  bool             // guarded by mu
}

type dialing struct {
	done chan struct{}
	conn *amqp.Connection
	err  error
}

// New returns a link. The loss of its connection is logged once, with attrs, and so is the
// next connection. A nil log means no line.
func New(dial func(context.Context) (*amqp.Connection, error), name Name, log *slog.Logger, attrs ...slog.Attr) *Link {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	l := &Link{dial: dial, name: name, log: log, attrs: slices.Clip(attrs)}
	l.alive, l.end = context.WithCancel(context.Background())
	return l
}

// Get returns a connection that is open as far as the library knows. Callers share a
// dial that is under way.
func (l *Link) Get(ctx context.Context) (*amqp.Connection, error) {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil, l.name.errClosed()
	}
	if l.conn != nil {
		if !l.conn.IsClosed() {
			defer l.mu.Unlock()
			return l.conn, nil
		}
		l.conn = nil
		l.lost(nil)
	}
	d := l.pending
	if d == nil {
		d = &dialing{done: make(chan struct{})}
		l.pending = d
		pause := l.pause
		l.dials.Go(func() { l.connect(d, pause) })
	}
	l.mu.Unlock()
	select {
	case <-d.done:
		return d.conn, d.err
	case <-ctx.Done():
		return nil, core.ContextError(ctx)
	}
}

func (l *Link) connect(d *dialing, pause time.Duration) {
	defer close(d.done)
	Sleep(l.alive, pause)
	ctx, cancel := context.WithTimeout(l.alive, dialLimit)
	defer cancel()
	d.conn, d.err = l.dialSafely(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = nil
	switch {
	case l.closed:
		if d.conn != nil {
			closeSoon(d.conn)
		}
		d.conn, d.err = nil, l.name.errClosed()
	case d.err != nil:
		d.err = l.name.Unavailable(d.err)
		l.pause = min(max(2*pause, firstPause), longPause)
		l.lost(d.err)
	default:
		l.conn, l.pause = d.conn, 0
		if l.down {
			adapter.LogBack(l.log, l.name.executor(), l.attrs...)
		}
		l.down = false
	}
}

func (l *Link) dialSafely(ctx context.Context) (conn *amqp.Connection, err error) {
	defer func() {
		if v := recover(); v != nil {
			conn, err = nil, &core.PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	if conn, err = l.dial(ctx); err == nil && conn == nil {
		err = fmt.Errorf("the dial function returned no connection: %w", core.ErrInvalid)
	}
	return conn, err
}

// lost needs mu. It logs an outage once.
func (l *Link) lost(err error) {
	if l.down {
		return
	}
	l.down = true
	attrs := l.attrs
	if err != nil {
		attrs = append(attrs, slog.String("error", adapter.ErrorText(err, maxErrorText)))
	}
	adapter.LogLost(l.log, l.name.executor(), attrs...)
}

// Close ends the connection, and waits for a dial that is under way, if that obeys
// its context.
func (l *Link) Close() {
	l.mu.Lock()
	conn := l.conn
	l.conn, l.closed = nil, true
	l.mu.Unlock()
	l.end()
	if conn != nil {
		closeSoon(conn)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); l.dials.Wait() }()
	select {
	case <-ended:
	case <-time.After(closeLimit):
	}
}

// closeSoon closes a connection. Its errors say that it has ended, as it should.
func closeSoon(conn *amqp.Connection) { _ = conn.CloseDeadline(time.Now().Add(closeLimit)) }

// Within returns what fn returns, or the context's error when ctx ends. The library
// cannot interrupt requests, so fn then goes on alone until the connection is closed: it
// must not write what the caller reads in that case.
func Within(ctx context.Context, fn func() error) error {
	ended := make(chan error, 1)
	go func() { ended <- fn() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return core.ContextError(ctx)
	}
}

// Sleep reports whether ctx is still alive after d.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
