package mutants

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
)

const (
	defaultAttempts = 3
	ownBackoff      = 10 * time.Millisecond
)

// worker takes jobs of its queues out of the store and runs up to slots of
// them at a time.
type worker struct {
	store    *store
	registry *core.Registry
	queues   []string
	slots    int
	bug      *bug

	ctx     context.Context
	cancel  context.CancelFunc
	fetcher sync.WaitGroup
	jobs    sync.WaitGroup

	running  int  // guarded by store.mu
	wave     int  // guarded by store.mu
	stopping bool // guarded by store.mu
	killed   bool // guarded by store.mu
}

func startWorker(s *store, setup conformance.Setup, b *bug) *worker {
	w := &worker{store: s, registry: setup.Registry, queues: slices.Clone(setup.Queues), slots: setup.Slots, bug: b}
	if len(w.queues) == 0 {
		w.queues = []string{""}
	}
	if w.slots == 0 {
		w.slots = 8
	}
	if b.slots != nil {
		w.slots = b.slots(w.slots)
	}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	w.fetcher.Go(w.fetch)
	return w
}

func (w *worker) fetch() {
	for {
		j, d, wake, next, over := w.look()
		switch {
		case over:
			return
		case j != nil:
			w.jobs.Go(func() { w.run(j, d) })
		case next.IsZero():
			<-wake
		default:
			timer := time.NewTimer(time.Until(next))
			select {
			case <-wake:
			case <-timer.C:
			}
			timer.Stop()
		}
	}
}

// look takes a job, or says what to wait for, or that it is over.
func (w *worker) look() (j *job, d core.Delivery, wake chan struct{}, next time.Time, over bool) {
	s := w.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.stopping && !(w.bug.fetchAfterStop && len(s.ready) > 0) {
		return nil, d, nil, time.Time{}, true
	}
	if w.running < w.slots && w.mayFetch() {
		if j, next = s.take(w.queues, time.Now()); j != nil {
			w.running++
			w.wave--
			j.holder = w
			d = w.delivery(j)
		}
	}
	return j, d, s.wake, next, false
}

// mayFetch is true but for a worker that fetches in waves. The store's lock is
// held.
func (w *worker) mayFetch() bool {
	if w.running == 0 {
		w.wave = w.slots
	}
	return w.wave > 0 || !w.bug.inWaves
}

// delivery is what is run of a job. The store's lock is held.
func (w *worker) delivery(j *job) core.Delivery {
	d := core.Delivery{
		ID: j.in.ID, Task: j.in.Task, Queue: j.queue, Payload: j.payload, Headers: j.headers, Attempt: j.attempt,
		MaxAttempts: j.in.Options.MaxAttempts, Backoff: j.in.Options.Backoff, Timeout: j.in.Options.Timeout, Deadline: j.in.Options.Deadline,
	}
	if d.MaxAttempts == 0 {
		d.MaxAttempts = defaultAttempts
	}
	return d
}

func (w *worker) run(j *job, d core.Delivery) {
	if w.bug.deliver != nil {
		w.bug.deliver(j, &d)
	}
	if w.bug.early != nil {
		w.bug.early(w, j)
	}
	var v core.Verdict
	switch {
	case j.poison && w.bug.poison != nil:
		v = w.bug.poison(w)
	case j.poison:
		v = core.Verdict{Action: core.Dead}
	case w.bug.perform != nil:
		v = w.bug.perform(w, d)
	default:
		v = w.registry.Perform(w.ctx, d)
	}
	w.settle(j, d, v)
}

// settle tells the store what became of a run.
func (w *worker) settle(j *job, d core.Delivery, v core.Verdict) {
	s := w.store
	s.mu.Lock()
	defer s.mu.Unlock()
	w.running--
	defer s.stir()
	if w.killed || j.holder != w { // dead, or the job was handed back when this worker was stopped
		return
	}
	if w.bug.verdict != nil {
		w.bug.verdict(j, d, &v)
	}
	now := time.Now()
	switch v.Action {
	case core.Done:
		s.finish(j, conformance.Finished)
	case core.Dead:
		s.finish(j, conformance.Buried)
	case core.Retry:
		j.attempt++
		if w.bug.retryReleases {
			s.release(j)
		}
		if v.After == 0 {
			v.After = ownBackoff
		}
		j.at = now.Add(v.After)
		s.put(j, now)
	case core.Snoozed:
		j.at = now.Add(v.After)
		s.put(j, now)
	}
}

// stop waits for running jobs until ctx is done; those that have not finished
// by then are told to end and go back to the store.
func (w *worker) stop(ctx context.Context) error {
	w.end(false)
	done := make(chan struct{})
	go func() {
		w.fetcher.Wait()
		w.jobs.Wait()
		close(done)
	}()
	select {
	case <-done:
		w.cancel()
		return nil
	case <-ctx.Done():
		w.handBack()
		return ctx.Err()
	}
}

// kill is the end of the worker's process.
func (w *worker) kill() {
	w.end(true)
	w.handBack()
}

func (w *worker) end(killed bool) {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	w.stopping, w.killed = true, w.killed || killed
	w.store.stir()
}

func (w *worker) handBack() {
	w.cancel()
	s := w.store
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range s.all {
		if j.holder == w && j.state == conformance.Running {
			s.put(j, time.Now())
		}
	}
}
