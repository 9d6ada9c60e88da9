package outbox_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/outbox"
)

// lockedText is a log that several goroutines write.
type lockedText struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

var (
	_ = add("a relay that stops ends its dispatch first", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q)
		began, release := make(chan struct{}), make(chan struct{})
		q.setFail(func(int, []core.Intent) error {
			close(began)
			<-release
			return nil
		})
		w.store(t, box, intent(t, "a"))
		stop := w.relay(t, box, q)
		<-began
		time.AfterFunc(50*time.Millisecond, func() { close(release) })
		stop()
		if got := w.stats(t, box); got != (outbox.Stats{}) || len(q.ids()) != 1 {
			t.Errorf("stats %+v, got %v", got, q.ids())
		}
	})
	_ = add("a dispatch that outlasts DrainTimeout is cut off and the row is kept", func(t *testing.T, w *world) {
		began := make(chan struct{}, 1)
		hangs := adapter.Guard(newQueue().caps, func(ctx context.Context, in ...core.Intent) error {
			began <- struct{}{}
			<-ctx.Done()
			return core.Combine(core.Outcomes(in, core.Unknown, core.ContextError(ctx)))
		})
		q := newQueue()
		box := w.box(t, q)
		w.store(t, box, intent(t, "a"))
		relay, err := outbox.NewRelay(box, outbox.SQL(w.db), hangs, &outbox.RelayOptions{DrainTimeout: -1, Logger: quiet})
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- relay.Run(ctx) }()
		<-began
		cancel()
		must(t, <-done)
		if got := w.stats(t, box); got != (outbox.Stats{Waiting: 1}) {
			t.Errorf("stats %+v", got)
		}
		w.relay(t, box, q)
		q.await(t, 1)
	})
	_ = add("a stalled outbox is reported", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q)
		q.setFail(func(_ int, in []core.Intent) error { return core.Combine(core.Outcomes(in, core.NotSent, errDown)) })
		w.store(t, box, intent(t, "a"))
		w.exec(t, "UPDATE airlock_outbox SET created = created - 600000000, not_before = not_before - 600000000, due = due - 600000000")
		var log lockedText
		stalled := make(chan time.Duration, 1)
		w.relay(t, box, q, func(o *outbox.RelayOptions) {
			o.StalledAfter, o.Logger = time.Minute, slog.New(slog.NewTextHandler(&log, nil))
			o.Observer = func(r outbox.Report) {
				if r.Stalled > 0 {
					stalled <- r.Stalled
				}
			}
		})
		if age := <-stalled; age < 10*time.Minute || age > 10*time.Minute+patience {
			t.Errorf("age %v", age)
		}
		if text := log.String(); !strings.Contains(text, "level=ERROR") || !strings.Contains(text, "stalled") {
			t.Errorf("log %s", text)
		}
		stats, err := box.Stats(t.Context(), outbox.SQL(w.db))
		if err != nil || stats.Oldest < 10*time.Minute {
			t.Errorf("stats %+v, %v", stats, err)
		}
	})
	_ = add("a queue that is away is logged once, and once when it is back", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q)
		q.setFail(func(call int, in []core.Intent) error {
			if call <= 4 {
				return core.Combine(core.Outcomes(in, core.NotSent, errors.New("dial redis://user:secret@host: refused")))
			}
			return nil
		})
		w.store(t, box, intent(t, "payload-text"))
		var log lockedText
		stop := w.relay(t, box, q, func(o *outbox.RelayOptions) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		q.await(t, 1)
		w.awaitStats(t, box, outbox.Stats{})
		stop()
		text := log.String()
		if strings.Count(text, "level=WARN") != 1 || strings.Count(text, "level=INFO") != 1 || strings.Contains(text, "secret") || strings.Contains(text, "payload-text") {
			t.Errorf("log %s", text)
		}
	})
	_ = add("while rows are settled their lease is not renewed", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q)
		w.store(t, box, intents(t, 3)...)
		db := &slowDeletes{DB: outbox.SQL(w.db)}
		reports := make(chan outbox.Report, 1)
		ctx, cancel := context.WithCancel(t.Context())
		relay, err := outbox.NewRelay(box, db, q.exec(), &outbox.RelayOptions{Lease: 6 * time.Second, Logger: quiet,
			Observer: func(r outbox.Report) { reports <- r; cancel() }})
		must(t, err)
		must(t, relay.Run(ctx))
		if r := <-reports; r.Accepted != 3 || r.Lost != 0 || r.Err != nil {
			t.Errorf("report %+v", r)
		}
		if n := db.during.Load(); n != 0 {
			t.Errorf("%d statements while the rows were deleted", n)
		}
		w.awaitStats(t, box, outbox.Stats{})
	})
	_ = add("rows that cannot be deleted are sent again with the same ID", func(t *testing.T, w *world) {
		q := newQueue()
		broken := &breakable{DB: outbox.SQL(w.db)}
		box := w.box(t, q, func(o *outbox.Options) { o.DB, o.Lease = broken, 4*time.Second })
		in := intent(t, "a")
		q.setFail(func(call int, _ []core.Intent) error {
			broken.set(call == 1)
			return nil
		})
		w.commit(t, box, in).Committed(t.Context())
		ended, end := context.WithCancel(t.Context())
		end()
		if err := box.Close(ended); !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), "airlock: outbox: close: ") {
			t.Errorf("Close: %v", err)
		}
		must(t, box.Close(t.Context())) // it gives up when the lease ends
		broken.set(false)
		w.relay(t, box, q)
		if got := q.await(t, 2); got[0] != in.ID || got[1] != in.ID {
			t.Errorf("got %v", got)
		}
		w.awaitStats(t, box, outbox.Stats{})
	})
)

// breakable is a database that can be made to fail.
type breakable struct {
	outbox.DB
	mu     sync.Mutex
	broken bool // guarded by mu
}

func (b *breakable) set(broken bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.broken = broken
}

func (b *breakable) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	b.mu.Lock()
	broken := b.broken
	b.mu.Unlock()
	if broken {
		return 0, errors.New("the connection is lost")
	}
	return b.DB.Exec(ctx, query, args...)
}

func (b *breakable) Query(ctx context.Context, query string, args ...any) (outbox.Rows, error) {
	b.mu.Lock()
	broken := b.broken
	b.mu.Unlock()
	if broken {
		return nil, errors.New("the connection is lost")
	}
	return b.DB.Query(ctx, query, args...)
}

// slowDeletes is a database whose DELETE takes longer than a relay waits between two
// renewals of a lease of a second.
type slowDeletes struct {
	outbox.DB
	deleting atomic.Bool
	during   atomic.Int64 // statements while one is deleting
}

func (s *slowDeletes) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	if s.deleting.Load() {
		s.during.Add(1)
	}
	if strings.HasPrefix(query, "DELETE") {
		s.deleting.Store(true)
		defer s.deleting.Store(false)
		time.Sleep(3 * time.Second) // leases of six are renewed every two
	}
	return s.DB.Exec(ctx, query, args...)
}
