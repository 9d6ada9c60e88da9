package mutants

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/worker"
)

// remoteWorker takes jobs from the toy broker, each of its slots on a
// connection of its own.
type remoteWorker struct {
	addr     string
	space    string
	registry *worker.Registry
	slots    int
	bug      *lineBug

	starting sync.Once
	fetching context.Context // over when no more jobs are to be taken
	stopping context.CancelFunc
	working  context.Context // the handlers'
	cutOff   context.CancelFunc
	killed   context.Context // nothing is said to the broker any more
	killing  context.CancelFunc
	running  sync.WaitGroup
}

func newRemoteWorker(addr string, s conformance.Setup, b *lineBug) *remoteWorker {
	w := &remoteWorker{addr: addr, space: s.Namespace, registry: s.Registry, slots: s.Slots, bug: b}
	if w.slots == 0 {
		w.slots = 4
	}
	w.fetching, w.stopping = context.WithCancel(context.Background())
	w.working, w.cutOff = context.WithCancel(context.Background())
	w.killed, w.killing = context.WithCancel(context.Background())
	return w
}

func (w *remoteWorker) start() {
	w.starting.Do(func() {
		for range w.slots {
			w.running.Go(w.slot)
		}
	})
}

func (w *remoteWorker) stop(ctx context.Context) error {
	w.starting.Do(func() {})
	w.stopping()
	done := make(chan struct{})
	go func() { w.running.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		w.cutOff()
		<-done
		return ctx.Err()
	}
}

func (w *remoteWorker) kill() {
	w.starting.Do(func() {})
	w.killing()
	w.stopping()
	w.cutOff()
	w.running.Wait()
}

// slot is one connection and its jobs, one at a time.
func (w *remoteWorker) slot() {
	c := newClient(w.addr, w.bug)
	defer c.close()
	most := 1
	if w.bug.prefetches {
		most = 5
	}
	var unsaid []int // for the mutant that prefetches
	for first := true; w.fetching.Err() == nil; first = false {
		if len(unsaid) > 0 {
			if w.say(c, request{Op: "settle", End: worker.Done, Tags: unsaid}) != nil {
				continue
			}
			unsaid = nil
		}
		got, err := w.take(c, most)
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				w.disturbed()
			}
			if first && w.bug.startsOnce {
				return
			}
			time.Sleep(ownBackoff)
			continue
		}
		for i := range got.Jobs {
			if w.fetching.Err() != nil {
				w.say(c, request{Op: "settle", End: worker.Snoozed, Tags: got.Tags[i:]})
				break
			}
			if w.run(c, got, i) != nil && w.bug.prefetches {
				unsaid = append(unsaid, got.Tags[i:]...)
				break
			}
		}
	}
}

// take asks for jobs. A call that is under way when the worker stops may still bring
// some, which go back unused: if it were cancelled at once, each would lose an attempt.
func (w *remoteWorker) take(c *client, most int) (reply, error) {
	ctx, cancel := context.WithCancel(w.killed)
	defer cancel()
	defer context.AfterFunc(w.fetching, func() { time.AfterFunc(2*longPoll, cancel) })()
	got, _, err := c.call(ctx, request{Op: "take", Space: w.space, Most: most})
	return got, err
}

// run runs a job under its lease and says what became of it.
func (w *remoteWorker) run(c *client, got reply, i int) error {
	in, err := adapter.DecodeIntent(got.Jobs[i])
	tag := []int{got.Tags[i]}
	if err != nil {
		return w.say(c, request{Op: "settle", End: worker.Dead, Tags: tag})
	}
	d := worker.FirstDelivery(&in)
	d.Attempt = got.Attempts[i]
	if d.MaxAttempts == 0 {
		d.MaxAttempts = defaultAttempts
	}
	if d.Attempt > d.MaxAttempts && !w.bug.crashIsNeverLast {
		return w.say(c, request{Op: "settle", End: worker.Dead, Tags: tag}) // the last run's worker never answered
	}
	stop := w.renew(c, got.Tags)
	v := w.registry.Perform(w.working, d)
	stop()
	if v.Action == worker.Parked {
		v.After = parkFor
	}
	end := request{Op: "settle", End: v.Action, After: v.After, Tags: tag}
	for err = w.say(c, end); err != nil && w.killed.Err() == nil; err = w.say(c, end) {
		switch {
		case w.bug.lostAckIsDead:
			end.End = worker.Dead
		case w.bug.lostAckIsRetry:
			for range 10 {
				w.registry.Perform(w.working, d)
			}
		default:
			return err // its lease will end
		}
		time.Sleep(ownBackoff)
	}
	return nil
}

// renew keeps leases until the function that it returns is called.
func (w *remoteWorker) renew(c *client, tags []int) (stop func()) {
	if w.bug.silent {
		return func() {}
	}
	ctx, cancel := context.WithCancel(w.killed)
	var renewing sync.WaitGroup
	renewing.Go(func() {
		ticker := time.NewTicker(lease / 5)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				c.call(ctx, request{Op: "renew", Space: w.space, Tags: tags}) //nolint:errcheck // the next one may get through
			case <-ctx.Done():
				return
			}
		}
	})
	return func() { cancel(); renewing.Wait() }
}

func (w *remoteWorker) say(c *client, req request) error {
	if err := w.killed.Err(); err != nil {
		return err // a dead process says nothing
	}
	req.Space = w.space
	_, _, err := c.call(w.killed, req)
	if err != nil {
		w.disturbed()
	}
	return err
}

// disturbed is called for each error of a connection. The mutant that never connects
// again stops as a whole: a slot that had no connection yet would not have noticed.
func (w *remoteWorker) disturbed() {
	if w.bug.neverReconnects {
		w.stopping()
	}
}
