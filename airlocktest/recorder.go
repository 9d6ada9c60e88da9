// Package airlocktest helps to test code that enqueues: an executor that
// records, and assertions that know the tasks' types.
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

	"github.com/goairlock/airlock/core"
)

// Recorder is an executor that records what it is handed, like a queue on which
// nobody works. It accepts every portable option, or what [Recorder.Act] says.
// The same intent again, or a second one of a chosen ID or unique key, is one
// job, as on a queue.
//
// It can be told to fail, to lose its answers and to be slow, to test what code
// does then. The zero value is ready; it is safe for concurrent use.
type Recorder struct {
	mu      sync.Mutex
	jobs    []core.Intent      // guarded by mu
	ids     map[string]bool    // guarded by mu
	uniques map[uniqueKey]bool // guarded by mu
	caps    *core.Capabilities // guarded by mu; nil accepts all
	fail    error              // guarded by mu
	lose    bool               // guarded by mu
	delay   time.Duration      // guarded by mu
}

type uniqueKey struct{ task, queue, key string }

// Act makes the recorder refuse what an executor of these capabilities refuses.
func (r *Recorder) Act(caps core.Capabilities) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.caps = &caps
}

// Fail makes every further call answer err and record nothing. How the intents'
// outcomes read is the error's to say, see [core.OutcomesOf]. Nil ends it.
func (r *Recorder) Fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = err
}

// Lose makes every further call record its intents and then answer that their
// outcome is Unknown, as when a connection breaks before the reply; or no longer.
func (r *Recorder) Lose(lose bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lose = lose
}

// Delay makes every further call take d before it records. A context that ends
// meanwhile ends the call: nothing is recorded, and nothing was sent.
func (r *Recorder) Delay(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delay = d
}

// Execute records the intents. It is a [core.Executor].
func (r *Recorder) Execute(ctx context.Context, intents ...core.Intent) error {
	r.mu.Lock()
	caps, fail, lose, delay := r.caps, r.fail, r.lose, r.delay
	r.mu.Unlock()
	if caps == nil {
		caps = &everything
	}
	return core.Guard(*caps, func(ctx context.Context, intents ...core.Intent) error {
		if delay > 0 {
			timer := time.NewTimer(delay)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-ctx.Done():
				return fmt.Errorf("airlock: recorder: %w: %w", ctx.Err(), core.ErrNotSent)
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
	})(ctx, intents...)
}

var errLost = fmt.Errorf("airlock: recorder: the answer was lost: %w", core.ErrUnknownOutcome)

// everything claims all portable options.
var everything = func() core.Capabilities {
	caps := core.Capabilities{Executor: "recorder", Options: map[core.OptionName]core.Claim{}}
	for _, name := range core.PortableOptions() {
		caps.Options[name] = core.Claim{Support: core.Native}
	}
	return caps
}()

func (r *Recorder) record(intents []core.Intent) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ids == nil {
		r.ids, r.uniques = map[string]bool{}, map[uniqueKey]bool{}
	}
	out := core.OutcomesOf(nil, intents)
	for i, in := range intents {
		key := uniqueKey{in.Task, in.Options.Queue, in.Options.Unique}
		known := r.ids[in.ID]
		switch {
		case known && !in.ChosenID() && key.key == "":
		case known, key.key != "" && r.uniques[key]:
			out[i].State, out[i].Err = core.Duplicate, core.ErrDuplicate
		default:
			r.ids[in.ID] = true
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

// Reset forgets what was recorded, but not what the recorder was told to do.
func (r *Recorder) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.jobs, r.ids, r.uniques = nil, nil, nil
}
