package natsexec

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// lanes are the priorities, the higher first, with their shares.
var lanes = []struct {
	kind   string
	weight int
}{{laneHigh, 6}, {laneNormal, 3}, {laneLow, 1}}

// A source is one lane of one queue, with the consumer that serves it.
type source struct {
	queue, kind string
	weight      int
	ackWait     time.Duration

	// Of the goroutine that feeds.
	credit int       // of the weighted round
	idleTo time.Time // it was found empty: not asked again before
}

// durable is the consumer's name. No queue's name has two dashes in a row.
func (s *source) durable() string {
	if s.kind == laneNormal {
		return s.queue
	}
	return s.queue + "--" + s.kind
}

// How long a fetch waits at the server. It holds its slots for so long, which
// with several sources are slots that another one could use.
const (
	waitAlone   = time.Second
	waitBeside  = 250 * time.Millisecond
	afterError  = 500 * time.Millisecond
	stayIdleFor = 50 * time.Millisecond
)

// feed fills free slots with jobs until ctx ends.
func (w *Worker) feed(ctx context.Context) {
	for {
		n := w.acquire(ctx)
		if n == 0 {
			return
		}
		if len(w.sources) == 1 {
			w.fetch(ctx, w.sources[0], n, waitAlone)
			continue
		}
		w.share(ctx, n)
	}
}

// acquire waits for a free slot and takes all there are. 0 means that ctx ended.
func (w *Worker) acquire(ctx context.Context) int {
	select {
	case <-ctx.Done():
		return 0
	case <-w.slots:
	}
	n := 1
	for {
		select {
		case <-w.slots:
			n++
			continue
		default:
		}
		break
	}
	if ctx.Err() != nil {
		w.release(n)
		return 0
	}
	return n
}

func (w *Worker) release(n int) {
	for range n {
		w.slots <- struct{}{}
	}
}

// share deals n slots to the sources by weight. Sources that have jobs get them
// at once; what is left waits for jobs wherever they come first.
func (w *Worker) share(ctx context.Context, n int) {
	for n > 0 && ctx.Err() == nil {
		now := time.Now()
		deal := map[*source]int{}
		for range n {
			if s := w.next(func(s *source) bool { return !now.Before(s.idleTo) }); s != nil {
				deal[s]++
			}
		}
		if len(deal) == 0 {
			break
		}
		for _, s := range w.sources {
			if deal[s] == 0 {
				continue
			}
			got := w.take(ctx, s, deal[s])
			n -= got
			if got < deal[s] {
				s.idleTo = time.Now().Add(stayIdleFor)
			}
		}
	}
	if n == 0 || ctx.Err() != nil {
		w.release(n)
		return
	}
	w.spread(ctx, n)
}

// spread has every source wait for jobs with an equal part of n slots.
func (w *Worker) spread(ctx context.Context, n int) {
	each, rest := n/len(w.sources), n%len(w.sources)
	for range w.sources {
		s := w.next(func(*source) bool { return true })
		mine := each
		if rest > 0 {
			mine, rest = mine+1, rest-1
		}
		if mine > 0 {
			w.fetch(ctx, s, mine, waitBeside)
		}
	}
}

// next is the smooth weighted round robin: every source gains its weight, and
// the richest one pays for all.
func (w *Worker) next(ready func(*source) bool) *source {
	var best *source
	total := 0
	for _, s := range w.sources {
		if !ready(s) {
			continue
		}
		s.credit += s.weight
		total += s.weight
		if best == nil || s.credit > best.credit {
			best = s
		}
	}
	if best != nil {
		best.credit -= total
	}
	return best
}

// take starts the jobs that a source has, at most n, and returns how many.
func (w *Worker) take(ctx context.Context, s *source, n int) int {
	got, err := w.pull(ctx, s, n, 0)
	if err != nil {
		w.troubled(ctx, s, err)
	}
	return got
}

// fetch waits for at most n jobs on a goroutine of its own, and starts them.
func (w *Worker) fetch(ctx context.Context, s *source, n int, wait time.Duration) {
	w.jobs.Go(func() {
		got, err := w.pull(ctx, s, n, wait)
		if err != nil {
			w.troubled(ctx, s, err)
		}
		w.release(n - got)
	})
}

// troubled waits a while after a fetch that failed: the connection is down, or
// the consumer has no leader. One that was deleted is made again. A connection
// that was closed never comes back, and ends Run.
func (w *Worker) troubled(ctx context.Context, s *source, err error) {
	if ctx.Err() != nil {
		return
	}
	w.opts.Logger.LogAttrs(ctx, slog.LevelWarn, "airlock: nats: fetching jobs", slog.String("queue", s.queue), slog.Any("error", err))
	if w.conn.IsClosed() {
		w.stop(fmt.Errorf("airlock: nats: %w", nats.ErrConnectionClosed))
		return
	}
	select {
	case <-time.After(afterError):
	case <-ctx.Done():
		return
	}
	if _, err := w.consumer(ctx, s); errors.Is(err, jetstream.ErrConsumerNotFound) {
		again := *s
		if err := w.bind(ctx, &again); err != nil && ctx.Err() == nil {
			w.opts.Logger.LogAttrs(ctx, slog.LevelError, "airlock: nats: consumer", slog.String("queue", s.queue), slog.Any("error", err))
		}
	}
}
