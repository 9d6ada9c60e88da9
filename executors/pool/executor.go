package poolexec

import (
	"context"
	"fmt"
	"math/bits"
	"sync"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/internal/ids"
)

// Executor runs jobs on goroutines of this process. It is made by [New] and
// ended by [Executor.Stop], and safe for concurrent use. While there is nothing
// to do it has no goroutine.
type Executor struct {
	opts    Options
	caps    core.Capabilities
	guarded core.Executor
	jobs    context.Context // what the handlers' contexts derive from
	cancel  context.CancelCauseFunc
	stopped chan struct{} // closed once stopErr is final
	stopErr error

	mu      sync.Mutex // guards everything below
	levels  [11]queue  // due jobs by priority, from 1
	filled  uint       // a bit for each level that has jobs
	spare   blockList  // for levels
	due     int        // jobs in levels
	delayed delayedJobs
	seq     uint64
	timer   *time.Timer // of delayed
	waiting int         // jobs in levels and delayed
	known   *ids.Set    // IDs, but for those of unnoted jobs in levels
	unnoted int
	unique  map[uniqueKey]struct{}
	callers []*caller // waiting for room, in the order of their calls
	idle    []*worker // without a goroutine
	staffed []*worker // with one
	closed  bool      // by Stop
	aborted error     // why, once Stop's context has ended
	ended   bool      // stopErr is final
	unrun   []core.Intent
}

type uniqueKey struct{ task, queue, key string }

func uniqueKeyOf(in *core.Intent) uniqueKey {
	return uniqueKey{in.Task, in.Options.Queue, in.Options.Unique}
}

// New makes a pool. It starts nothing: goroutines come with the jobs. Options
// that cannot hold are [core.ErrInvalid]; nil ones are the zero ones.
func New(opts *Options) (*Executor, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	e := &Executor{
		opts: o, stopped: make(chan struct{}),
		known: ids.New(o.RememberIDs), unique: make(map[uniqueKey]struct{}),
	}
	e.jobs, e.cancel = context.WithCancelCause(context.WithValue(context.Background(), ownPool{}, e))
	e.caps = capabilities(&e.opts)
	e.guarded = core.Guard(e.caps, e.dispatch)
	return e, nil
}

// Execute takes intents into the pool; it is a [core.Executor]. Nil means that
// every one will be run, if the process lives and nobody calls Stop. The
// outcomes of a call are told in the package's comment under Errors.
//
// A call waits if the pool is full, see [Options.RefuseWhenFull], unless its
// context is that of a job of this very pool: such a job would wait for itself.
func (e *Executor) Execute(ctx context.Context, intents ...core.Intent) error {
	if e == nil || e.guarded == nil {
		return core.Guard(core.Capabilities{}, nil)(ctx, intents...)
	}
	return e.guarded(ctx, intents...)
}

// ownPool is the key under which the context of a job has its pool.
type ownPool struct{}

var errStopped = fmt.Errorf("airlock: pool: stopped: %w", core.ErrClosed)

func (e *Executor) dispatch(ctx context.Context, intents ...core.Intent) error {
	if err := e.opts.Registry.Check(intents...); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return errStopped
	}
	if e.opts.RefuseWhenFull {
		if n := e.needed(intents); n > e.opts.Capacity-e.waiting {
			return fmt.Errorf("airlock: pool: no room for %d jobs: %d wait, of at most %d: %w",
				n, e.waiting, e.opts.Capacity, core.ErrUnavailable)
		}
	}
	c := call{e: e, ctx: ctx, intents: intents}
	defer c.leave()
	for c.next < len(intents) {
		if c.take() {
			continue
		}
		if err := c.awaitRoom(); err != nil {
			c.setRest(core.NotSent, err)
			break
		}
	}
	e.staff()
	return core.Combine(c.outcomes)
}

// plain reports that nothing about the intent has to be decided at dispatch: its
// being sent again is no Duplicate, and it is due. Whether it was sent before is
// then left to the worker that gets it.
func plain(in *core.Intent) bool {
	return in.Options.Unique == "" && in.Options.At.IsZero() && !in.ChosenID()
}

// plainRun returns how many intents from the first on are plain and of its
// priority.
func plainRun(intents []core.Intent) int {
	n := 0
	for n < len(intents) && plain(&intents[n]) && intents[n].Options.Priority == intents[0].Options.Priority {
		n++
	}
	return n
}

// needed returns how much room a call takes, at most: a job that comes twice in
// it is counted twice.
func (e *Executor) needed(intents []core.Intent) int {
	n := 0
	for i := range intents {
		if in := &intents[i]; plain(in) || !e.has(in) {
			n++
		}
	}
	return n
}

// has reports whether there is a job of the intent's ID or unique key.
func (e *Executor) has(in *core.Intent) bool {
	e.note()
	if e.known.State(in.ID) != ids.Unknown {
		return true
	}
	if in.Options.Unique == "" {
		return false
	}
	_, held := e.unique[uniqueKeyOf(in)]
	return held
}

// note brings known up to date.
func (e *Executor) note() {
	if e.unnoted == 0 {
		return
	}
	for i := range e.levels {
		e.levels[i].note(e.known.Add)
	}
	e.unnoted = 0
}

// admit takes an intent of which there is no job yet.
func (e *Executor) admit(in *core.Intent) {
	e.known.Add(in.ID)
	if in.Options.Unique != "" {
		e.unique[uniqueKeyOf(in)] = struct{}{}
	}
	if at := in.Options.At; !at.IsZero() && at.After(time.Now()) {
		e.delay(in, 0, at)
		return
	}
	e.push(in, 0)
}

func level(in *core.Intent) int {
	if in.Options.Priority == 0 {
		return defaultPriority
	}
	return in.Options.Priority
}

// push adds a due job whose ID is noted.
func (e *Executor) push(in *core.Intent, runs int) {
	l := level(in)
	e.levels[l].push(&e.spare, in, runs)
	e.grown(l, 1)
}

// pushNew adds intents that are plain and of one priority.
func (e *Executor) pushNew(intents []core.Intent) {
	l := level(&intents[0])
	e.levels[l].pushNew(&e.spare, intents)
	e.unnoted += len(intents)
	e.grown(l, len(intents))
}

func (e *Executor) grown(l, n int) {
	e.filled |= 1 << l
	e.due += n
	e.waiting += n
}

// pop moves the due job that is next to j, and returns false if there is none.
func (e *Executor) pop(j *job) bool {
	for e.due > 0 {
		l := bits.Len(e.filled) - 1
		noted, repeat := e.levels[l].pop(&e.spare, j)
		if e.levels[l].first == nil {
			e.filled &^= 1 << l
		}
		e.due--
		e.waiting--
		if !noted {
			e.unnoted--
			repeat = !e.known.Add(j.in.ID)
		}
		if !repeat {
			return true
		}
	}
	return false
}
