package mutants

import (
	"bytes"
	"context"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

var workerMutants = []Variant{
	queue("retries-undecodable", "A05", "retries a job that cannot be decoded", bug{verdict: func(j *job, d worker.Delivery, v *worker.Verdict) {
		if v.Action == worker.Dead && d.Task == "conformance.undecodable" && d.Attempt < 3 {
			v.Action = worker.Retry
		}
	}}),
	queue("loses-concurrent", "L01", "loses a job when two come at the same time", bug{inner: func(next core.Executor, s *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			if s.inside.Add(1) > 12 && len(intents) == 5 {
				intents = intents[1:]
			}
			defer s.inside.Add(-1)
			time.Sleep(time.Microsecond)
			return next(ctx, intents...)
		}
	}}),
	queue("one-at-a-time", "L02", "runs half as many jobs at a time as it declares", bug{slots: func(n int) int { return max(1, n/2) }}),
	queue("unbounded", "L02", "runs a goroutine per job", bug{slots: func(n int) int {
		if n == 1 {
			return 1
		}
		return 10000
	}}),
	queue("head-of-line", "L04", "waits for all running jobs before it fetches again", bug{inWaves: true}),
	queue("locks-over-handler", "L05", "holds a dispatch until no job of one slot runs", bug{inner: func(next core.Executor, s *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			if s.setup.Slots == 1 {
				if _, inside := worker.JobFrom(ctx); inside {
					<-ctx.Done()
					return core.Combine(outcomes(intents, core.Unknown, ctx.Err()))
				}
			}
			return next(ctx, intents...)
		}
	}}),
	queue("last-in-first-out", "L06", "declares an order and starts the last job first", bug{order: func(a, b *job) int {
		if a.rank != b.rank {
			return b.rank - a.rank
		}
		return b.seq - a.seq
	}}),
	queue("shuffled-batches", "L06", "stores a batch in random order", bug{inner: func(next core.Executor, _ *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			if len(intents) != 10 {
				return next(ctx, intents...)
			}
			mixed := append([]core.Intent(nil), intents...)
			rand.Shuffle(len(mixed), func(a, b int) { mixed[a], mixed[b] = mixed[b], mixed[a] })
			return next(ctx, mixed...)
		}
	}}),
	queue("second-stop-fails", "L07", "fails when it is stopped again", bug{system: func(out *conformance.System, _ *system) {
		stop, stopped := out.Stop, new(atomic.Bool)
		out.Stop = func(ctx context.Context) error {
			if stopped.Swap(true) {
				return core.ErrClosed
			}
			return stop(ctx)
		}
	}}),
	queue("nil-after-stop", "L08", "returns nil when it is closed", bug{inner: func(next core.Executor, s *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.closed {
				return nil
			}
			return s.store.addAll(intents)
		}
	}}).like("watermill TestPubSub passes with it"),
	queue("looks-before-it-locks", "L11", "checks that it is open, and stores the job after its worker has ended", unlockedPool()),
	queue("stores-after-stop", "L08", "says closed, and stores", bug{inner: func(next core.Executor, s *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			err := next(ctx, intents...)
			s.mu.Lock()
			closed := s.closed
			s.mu.Unlock()
			if closed {
				s.store.mu.Lock()
				defer s.store.mu.Unlock()
				for i := range intents {
					s.store.add(intents[i], time.Now())
				}
			}
			return err
		}
	}}),
	queue("drains-the-queue", "L09", "runs all waiting jobs before it stops", bug{fetchAfterStop: true}),
	queue("stops-at-once", "L09", "does not wait for running jobs", bug{system: func(out *conformance.System, s *system) {
		out.Stop = func(ctx context.Context) error {
			time.Sleep(time.Millisecond)
			done, cancel := context.WithCancel(ctx)
			cancel()
			s.stop(done) //nolint:errcheck // that is the bug
			return nil
		}
	}}),
	queue("leaks-per-dispatch", "L12", "leaves a goroutine for every call", bug{inner: func(next core.Executor, _ *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			go func() { select {} }()
			return next(ctx, intents...)
		}
	}}).like("watermill TestPubSub and go-cloud drivertest pass with it"),
	queue("leaks-per-stop", "L12", "leaves a goroutine for every Stop", bug{system: func(out *conformance.System, _ *system) {
		stop := out.Stop
		out.Stop = func(ctx context.Context) error {
			go func() { select {} }()
			return stop(ctx)
		}
	}}),
	queue("full-is-unknown", "L03", "says unknown when there was no room for a job", boundedPool(2000, func() error { return errorString("queue full") })),
	queue("wraps-payload", "N01", "puts its envelope around the payload", bug{
		admit: func(_ *store, j *job) bool {
			j.payload = append([]byte("envelope:"), j.payload...)
			return true
		},
		deliver: func(_ *job, d *worker.Delivery) { d.Payload = bytes.TrimPrefix(d.Payload, []byte("envelope:")) },
	}),
	queue("needs-envelope", "N02", "buries jobs of other producers", bug{perform: func(w *brokenWorker, d worker.Delivery) worker.Verdict {
		if strings.HasPrefix(d.ID, "native-") {
			return worker.Verdict{Action: worker.Dead}
		}
		return w.registry.Perform(w.ctx, d)
	}}),
	queue("acks-before-run", "F06", "acknowledges a job before it runs", bug{early: func(w *brokenWorker, j *job) {
		w.store.mu.Lock()
		defer w.store.mu.Unlock()
		j.state = conformance.Finished
	}}).like("at-most-once by accident"),
	queue("poison-comes-back", "F10", "retries forever what it cannot decode", bug{poison: func(*brokenWorker) worker.Verdict {
		return worker.Verdict{Action: worker.Retry, After: time.Second}
	}}),
	queue("poison-blocks", "F10", "stops at a message that it cannot decode", bug{poison: func(w *brokenWorker) worker.Verdict {
		<-w.ctx.Done()
		return worker.Verdict{Action: worker.Dead}
	}}),
	queue("trace-per-attempt", "T02", "starts a new trace for each attempt", bug{deliver: func(_ *job, d *worker.Delivery) {
		if d.Attempt > 1 && d.Headers.Has("traceparent") {
			m := map[string]string{}
			for k, v := range d.Headers.All() {
				m[k] = v
			}
			m["traceparent"] = "00-00000000000000000000000000000001-0000000000000001-00"
			d.Headers = core.NewHeaders(m)
		}
	}}),
}
