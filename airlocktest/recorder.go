// Package airlocktest helps to test code that enqueues. It has an executor that
// records, and assertions that know the types of the tasks.
//
//	func TestCheckoutSendsAReceipt(t *testing.T) {
//		rec := airlocktest.Run(t, func(ctx context.Context) error { return shop.Checkout(ctx, order) })
//		airlocktest.RequireDispatched(t, rec, shop.SendReceipt, func(r shop.Receipt) bool { return r.Order == order.ID })
//	}
//
// No assertion prints the arguments of an intent.
package airlocktest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

// Recorder is an executor that records its intents, like a queue without a worker.
// It takes every portable option, unless [Recorder.Act] sets other capabilities,
// and can be asked like any executor. The same intent again, or a second one of a
// chosen ID or unique key, is one job, as on a queue. An ID is one job per queue if
// those capabilities say so.
//
// It can fail, lose its answers and be slow, to test what code does then. The zero
// value is ready to use. It is safe for concurrent use.
type Recorder struct {
	mu       sync.Mutex
	jobs     []core.Intent      // guarded by mu
	ids      map[idKey]bool     // guarded by mu
	uniques  map[uniqueKey]bool // guarded by mu
	guarded  core.Executor      // guarded by mu; nil until Act or the first call
	perQueue bool               // guarded by mu; an ID is one job per queue
	fail     error              // guarded by mu
	lose     bool               // guarded by mu
	delay    time.Duration      // guarded by mu
}

// idKey has no queue where an ID is one job per executor.
type idKey struct{ queue, id string }

type uniqueKey struct{ task, queue, key string }

// Act makes the recorder refuse what an executor of these capabilities refuses, and
// answer questions with them.
func (r *Recorder) Act(caps core.Capabilities) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.guarded, r.perQueue = adapter.Guard(caps, r.take), caps.IDWindow.PerQueue
}

// Fail makes every further call return err and record nothing. What that means for
// each intent depends on err, see [core.OutcomesOf]. Nil ends it.
func (r *Recorder) Fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = err
}

// Lose makes every further call record its intents and then answer that their
// outcome is Unknown, as when a connection breaks before the reply. Lose(false)
// ends it.
func (r *Recorder) Lose(lose bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lose = lose
}

// Delay makes every further call wait for d before it records. If the context ends
// meanwhile, nothing is recorded and nothing was sent.
func (r *Recorder) Delay(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delay = d
}

// Execute records the intents. It is a [core.Executor].
func (r *Recorder) Execute(ctx context.Context, intents ...core.Intent) error {
	r.mu.Lock()
	if r.guarded == nil {
		r.guarded = adapter.Guard(everything, r.take)
	}
	guarded := r.guarded
	r.mu.Unlock()
	return guarded(ctx, intents...)
}

// take is what Execute does with a call that the capabilities allow.
func (r *Recorder) take(ctx context.Context, intents ...core.Intent) error {
	r.mu.Lock()
	fail, lose, delay := r.fail, r.lose, r.delay
	r.mu.Unlock()
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return fmt.Errorf("airlock: airlocktest: %w: %w", core.ContextError(ctx), core.ErrNotSent)
		}
	}
	if fail != nil {
		return fail
	}
	err := r.record(intents)
	if lose {
		return errLost
	}
	return err
}

var errLost = fmt.Errorf("airlock: airlocktest: the answer was lost: %w", core.ErrUnknownOutcome)

// everything takes all portable options.
var everything = func() core.Capabilities {
	caps := core.Capabilities{Executor: "recorder", Options: map[core.OptionName]core.Claim{}}
	for _, name := range core.PortableOptions() {
		caps.Options[name] = core.Claim{Support: core.SupportNative}
	}
	return caps
}()

func (r *Recorder) record(intents []core.Intent) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ids == nil {
		r.ids, r.uniques = map[idKey]bool{}, map[uniqueKey]bool{}
	}
	out := core.Outcomes(intents, core.Accepted, nil)
	for i, in := range intents {
		key := uniqueKey{in.Task, in.Options.Queue, in.Options.Unique}
		id := idKey{id: in.ID}
		if r.perQueue {
			id.queue = in.Options.Queue
		}
		known := r.ids[id]
		switch {
		case known && !in.ChosenID() && key.key == "":
		case known, key.key != "" && r.uniques[key]:
			out[i].State, out[i].Err = core.Duplicate, core.ErrDuplicate
		default:
			r.ids[id] = true
			r.uniques[key] = true
			r.jobs = append(r.jobs, in)
		}
	}
	return core.Combine(out)
}

// Intents returns what was recorded, in order.
func (r *Recorder) Intents() []core.Intent {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.jobs)
}

// Reset forgets what was recorded. Act, Fail, Lose and Delay stay in force.
func (r *Recorder) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.jobs, r.ids, r.uniques = nil, nil, nil
}
