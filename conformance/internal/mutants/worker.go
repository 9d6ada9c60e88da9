package mutants

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

const (
	defaultAttempts = core.DefaultMaxAttempts
	ownBackoff      = 10 * time.Millisecond
	parkFor         = 20 * time.Millisecond
	defaultSlots    = 8
)

// worker takes jobs of its queues out of the store and runs up to slots of
// them at a time.
type brokenWorker struct {
	store    *store
	registry *worker.Registry
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

	names  adapter.QueueNames
	logger *slog.Logger
	done   int           // runs that have begun; guarded by store.mu
	frozen chan struct{} // guarded by store.mu; nil, or closed when the worker goes on
}

func startWorker(s *store, setup conformance.Setup, b *bug, names adapter.QueueNames) *brokenWorker {
	w := &brokenWorker{store: s, registry: setup.Registry, queues: slices.Clone(setup.Queues), slots: setup.Slots, bug: b}
	if len(w.queues) == 0 {
		w.queues = []string{""}
	}
	if w.slots == 0 {
		w.slots = defaultSlots
	}
	if b.slots != nil {
		w.slots = b.slots(w.slots)
	}
	w.logger = setup.Logger
	if w.names = names; b.unnamed {
		w.names = adapter.QueueNames{}
	}
	for i, queue := range w.queues {
		w.queues[i] = b.storedQueue(w.names, queue)
	}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	w.fetcher.Go(w.fetch)
	return w
}

func (w *brokenWorker) fetch() {
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
func (w *brokenWorker) look() (j *job, d worker.Delivery, wake chan struct{}, next time.Time, over bool) {
	s := w.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.stopping && (!w.bug.fetchAfterStop || len(s.ready) == 0 || w.ctx.Err() != nil) {
		return nil, d, nil, time.Time{}, true
	}
	if w.running < w.slots && w.mayFetch() && w.frozen == nil {
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
func (w *brokenWorker) mayFetch() bool {
	if w.running == 0 {
		w.wave = w.slots
	}
	return w.wave > 0 || !w.bug.inWaves
}

// delivery is what is run of a job. The store's lock is held.
func (w *brokenWorker) delivery(j *job) worker.Delivery {
	d := worker.Delivery{
		ID: j.in.ID, Task: j.in.Task, Queue: j.queue, Payload: j.payload, Headers: j.headers, Attempt: j.attempt,
		MaxAttempts: j.in.Options.MaxAttempts, Backoff: j.in.Options.Backoff, Timeout: j.in.Options.Timeout, Deadline: j.in.Options.Deadline,
	}
	if d.MaxAttempts == 0 {
		d.MaxAttempts = defaultAttempts
	}
	if j.queue != "" && !w.bug.nativeJob {
		d.Queue = w.names.Portable(j.queue)
	}
	if j.later {
		d.EnvelopeErr = worker.ErrLaterVersion
	}
	return d
}

func (w *brokenWorker) run(j *job, d worker.Delivery) {
	if w.bug.deliver != nil {
		w.bug.deliver(j, &d)
	}
	if w.bug.early != nil {
		w.bug.early(w, j)
	}
	var v worker.Verdict
	switch {
	case j.poison && w.bug.poison != nil:
		v = w.bug.poison(w)
	case j.poison:
		v = worker.Verdict{Action: worker.Dead}
	case w.bug.perform != nil:
		v = w.bug.perform(w, d)
	default:
		v = w.registry.Perform(w.ctx, d)
	}
	w.settle(j, d, v)
}

// loseSlot is for mutants: the worker runs one job less at a time from now on.
func (w *brokenWorker) loseSlot(least int) {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	w.slots = max(least, w.slots-1)
}

// settle stores the result of a run.
func (w *brokenWorker) settle(j *job, d worker.Delivery, v worker.Verdict) {
	s := w.store
	s.mu.Lock()
	for w.frozen != nil && !w.killed {
		frozen := w.frozen
		s.mu.Unlock()
		<-frozen
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	w.running--
	defer s.stir()
	lost := j.holder != w // given to another worker, or handed back when this one was stopped
	if w.killed || lost && (w.bug.stale == nil || !w.bug.stale(j.holder == nil, &v)) {
		return
	}
	if w.bug.verdict != nil {
		w.bug.verdict(j, d, &v)
	}
	now := time.Now()
	if j.parked = v.Action == worker.Parked; v.Err != nil {
		j.err, j.failed = v.Err.Error(), now
	}
	switch v.Action {
	case worker.Done:
		s.finish(j, conformance.Finished)
	case worker.Dead:
		s.finish(j, conformance.Buried)
	case worker.Retry:
		j.attempt++
		if w.bug.retryReleases {
			s.release(j)
		}
		if v.After == 0 {
			v.After = ownBackoff
		}
		j.at = now.Add(v.After)
		s.put(j, now)
	case worker.Snoozed:
		j.at = now.Add(v.After)
		s.put(j, now)
	case worker.Parked:
		j.at = now.Add(parkFor)
		s.put(j, now)
	case worker.Interrupted:
		s.put(j, now)
	}
}

// stop waits for running jobs until ctx is done. It cancels those that have not
// finished by then and puts them back into the store.
func (w *brokenWorker) stop(ctx context.Context) error {
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
		w.handBack(false)
		return ctx.Err()
	}
}

// freeze lets the worker stand still, and gives its jobs to others.
func (w *brokenWorker) freeze() (thaw func()) {
	s := w.store
	s.mu.Lock()
	defer s.mu.Unlock()
	frozen := make(chan struct{})
	w.frozen = frozen
	for _, j := range s.all {
		if j.holder == w && j.state == conformance.Running {
			j.attempt++
			s.put(j, time.Now())
		}
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		w.frozen = nil
		close(frozen)
		s.stir()
	}
}

// kill is the end of the worker's process.
func (w *brokenWorker) kill() {
	w.end(true)
	w.handBack(true)
}

func (w *brokenWorker) end(killed bool) {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	w.stopping, w.killed = true, w.killed || killed
	w.store.stir()
}

// handBack gives the jobs that run back to the store. A run that a crash has ended
// was an attempt.
func (w *brokenWorker) handBack(crashed bool) {
	w.cancel()
	s := w.store
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range s.all {
		if j.holder != w || j.state != conformance.Running {
			continue
		}
		if crashed && !w.bug.crashIsFree {
			j.attempt++
		}
		if most := j.in.Options.MaxAttempts; most > 0 && j.attempt > most && !w.bug.crashIsNeverLast {
			s.finish(j, conformance.Buried)
			continue
		}
		s.put(j, time.Now())
	}
}
