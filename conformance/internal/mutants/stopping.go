package mutants

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/goairlock/airlock/conformance"
)

// stops makes a bug of Stop. When it is called, stop is the right one.
func stops(change func(ctx context.Context, s *system, stop func(context.Context) error) error) bug {
	return bug{system: func(out *conformance.System, s *system) {
		stop := out.Stop
		out.Stop = func(ctx context.Context) error { return change(ctx, s, stop) }
	}}
}

// pooled makes a bug of a pool in this process.
func pooled(b bug) bug {
	p := boundedPool(64, nil)
	changed := p.system
	p.system = func(out *conformance.System, s *system) {
		changed(out, s)
		b.system(out, s)
	}
	return p
}

func (sys *system) started() bool {
	sys.mu.RLock()
	defer sys.mu.RUnlock()
	return sys.worker != nil
}

// has reports whether the store has a job of some kind.
func (s *store) has(which func(j *job) bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range s.all {
		if which(j) {
			return true
		}
	}
	return false
}

// stopMutants do wrong in Stop, in some states only.
var stopMutants = []Variant{
	queue("waits-for-a-worker-that-never-ran", "L13", "waits in Stop for a worker that was never started", stops(func(ctx context.Context, s *system, stop func(context.Context) error) error {
		if !s.started() {
			<-ctx.Done()
			return ctx.Err()
		}
		return stop(ctx)
	})),
	queue("starts-in-order-to-stop", "L13", "starts a worker that was never started, so that it can stop it", stops(func(ctx context.Context, s *system, stop func(context.Context) error) error {
		if !s.started() && s.store.has(func(*job) bool { return true }) {
			s.start()
			time.Sleep(time.Millisecond)
		}
		return stop(ctx)
	})),
	queue("waits-for-delayed-jobs", "L13", "waits in Stop for jobs that are not due", stops(func(ctx context.Context, s *system, stop func(context.Context) error) error {
		for s.store.has(func(j *job) bool { return j.state == conformance.Waiting && j.at.After(time.Now()) }) {
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return stop(ctx)
	})),
	queue("second-stop-does-not-wait", "L13", "returns from a second Stop although the first still waits", func() bug {
		b := bug{}
		b.system = func(out *conformance.System, s *system) {
			stop := out.Stop
			var calls atomic.Int64
			out.Stop = func(ctx context.Context) error {
				if calls.Add(1) > 1 {
					return nil
				}
				return stop(ctx)
			}
		}
		return b
	}()),
	queue("stop-leaves-a-goroutine-for-a-while", "L13", "has a goroutine that ends some time after Stop has returned", pooled(stops(func(ctx context.Context, _ *system, stop func(context.Context) error) error {
		err := stop(ctx)
		go func() { time.Sleep(time.Second) }()
		return err
	}))),
	queue("stop-runs-retries", "L13", "runs jobs that wait for their retry when it is stopped", stops(func(ctx context.Context, s *system, stop func(context.Context) error) error {
		s.store.mu.Lock()
		waiting := s.store.later
		s.store.later = nil
		for _, j := range waiting {
			if j.attempt > 1 {
				j.at = time.Time{}
			}
			s.store.put(j, time.Now())
		}
		s.store.mu.Unlock()
		time.Sleep(time.Millisecond)
		return stop(ctx)
	})),
}
