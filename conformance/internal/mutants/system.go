package mutants

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/inspect"
	"github.com/goairlock/airlock/worker"
)

// bug is where the reference system can be broken. All nil and false it is
// correct.
type bug struct {
	caps  func(*core.Capabilities)                   // declares something else
	outer func(core.Executor, *system) core.Executor // around the guard
	inner func(core.Executor, *system) core.Executor // below the guard
	admit func(*store, *job) bool                    // false: dropped with nil
	order func(a, b *job) int                        // of waiting jobs
	id    func(core.Intent) string                   // what an ID is remembered as
	key   func(core.Intent) string                   // what a unique key is remembered as

	deliver func(*job, *worker.Delivery)                        // alters what is run
	early   func(*brokenWorker, *job)                           // before the handler
	perform func(*brokenWorker, worker.Delivery) worker.Verdict // instead of the registry
	poison  func(*brokenWorker) worker.Verdict                  // what is done with a message that cannot be understood
	verdict func(*job, worker.Delivery, *worker.Verdict)        // alters what is done then; the store's lock is held
	slots   func(int) int
	decode  func([]byte) (core.Intent, error)  // reads stored messages
	system  func(*conformance.System, *system) // alters what the suite is given

	inspector func(inspect.Inspector, *system) inspect.Inspector // around the system's

	shared         bool // one store for all namespaces
	anyQueue       bool // the worker's queues do not matter
	keepUnique     bool // finished jobs keep their key
	retryReleases  bool // failed attempts release it
	fetchAfterStop bool // Stop drains the queue
	forgetsDone    bool // finished jobs lose their ID
	inWaves        bool // the worker fetches again when all it had are done
	endlessIDs     bool // IDs never expire
	forgetsBuried  bool // dead jobs lose their ID

	queueName func(string) string                                 // the name that a queue is stored under
	stored    bool                                                // the ID window begins when the job has ended
	window    func(in core.Intent, d time.Duration) time.Duration // alters for how long an ID is remembered
	nameless  func(of int) bool                                   // sends calls of so many intents without native names
	unnamed   bool                                                // the worker has no native names
	nativeJob bool                                                // handlers find the native name of their queue
	stale     func(mine bool, v *worker.Verdict) bool             // a worker that has lost its job decides; mine: nobody else has it now

	crashIsFree      bool // a run that a crash has ended is no attempt
	crashIsNeverLast bool // nor the end of a job in its last attempt
}

func (b *bug) idKey(in core.Intent) string {
	if b.id != nil {
		return b.id(in)
	}
	return in.ID
}

func (b *bug) uniqueKey(in core.Intent) string {
	if in.Options.Unique == "" {
		return ""
	}
	if b.key != nil {
		return b.key(in)
	}
	return in.Task + "\n" + in.Options.Queue + "\n" + in.Options.Unique
}

// system is one executor with its worker.
type system struct {
	store *store
	bug   *bug
	setup conformance.Setup

	inside atomic.Int64 // calls under way

	names adapter.QueueNames

	mu     sync.RWMutex
	closed bool
	worker *brokenWorker
}

// referenceCaps is what the correct system declares: everything.
func referenceCaps() core.Capabilities {
	caps := core.Capabilities{
		Executor: "reference", Options: map[core.OptionName]core.Claim{}, Delivery: core.GuaranteeAtLeastOnce, Durability: core.DurabilityBroker,
		Order: core.OrderFIFO, AtomicBatch: true, Ranking: core.RankingStrict, PriorityLevels: 10, MaxPayload: 192 << 10,
		IDWindow:        core.Window{Kind: core.WindowFixed, For: idWindow, Survives: core.SurvivalRestart},
		DefaultAttempts: defaultAttempts,
	}
	for _, o := range core.PortableOptions() {
		caps.Options[o] = core.Claim{Support: core.SupportNative}
	}
	return caps
}

// world keeps the stores of one harness, by namespace.
type world struct {
	mu     sync.Mutex
	bug    *bug
	stores map[place]*store
}

// place is where a store is: checks never share one, whose channels belong to
// the bubble that they were made in.
type place struct {
	check     conformance.T
	namespace string
}

func (w *world) store(t conformance.T, namespace string) *store {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.bug.shared {
		namespace = ""
	}
	s := w.stores[place{t, namespace}]
	if s == nil {
		s = newStore(w.bug)
		w.stores[place{t, namespace}] = s
	}
	return s
}

// queueHarness is the harness of a reference system with a bug.
func queueHarness(b bug) conformance.Harness {
	w := &world{bug: &b, stores: map[place]*store{}}
	return conformance.Harness{
		Subject:  conformance.Subject{Module: "reference"},
		InBubble: true,
		New:      func(t conformance.T, s conformance.Setup) conformance.System { return w.open(t, s) },
		Native:   &conformance.Native{Produce: w.produce, Consume: w.consume},
		Golden: []conformance.Golden{{
			Name: "v1 with a field of a later release", Put: w.putGolden,
			ID: "golden-1", Payload: []byte(`{"n":1}`), Headers: map[string]string{"Color": "red"},
		}},
	}
}

// golden is a message as the first release stored it, and one field more.
const golden = `{"v":1,"id":"golden-1","headers":{"Color":"red"},"task":"conformance.golden","payload":"eyJuIjoxfQ==","later":[1]}`

func (w *world) putGolden(ctx context.Context, namespace string) error {
	decode := adapter.DecodeIntent
	if w.bug.decode != nil {
		decode = w.bug.decode
	}
	in, err := decode([]byte(golden))
	if err != nil {
		return nil // a message that is not understood is nobody's job
	}
	return w.find(ctx, namespace).addAll([]core.Intent{in})
}

// find returns the store of a namespace of the check that ctx belongs to.
func (w *world) find(ctx context.Context, namespace string) *store {
	w.mu.Lock()
	defer w.mu.Unlock()
	for p, s := range w.stores {
		if (p.namespace == namespace || w.bug.shared) && p.check.Context() == ctx {
			return s
		}
	}
	return newStore(w.bug)
}

// produce stores a job as a producer does that has no envelope.
func (w *world) produce(ctx context.Context, namespace, task string, payload []byte) error {
	s := w.find(ctx, namespace)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nextSeq++
	id := fmt.Sprint("native-", s.nextSeq)
	j := &job{in: core.Intent{ID: id, Task: task}, payload: payload, rank: 5, seq: s.nextSeq, attempt: 1, native: true}
	s.all = append(s.all, j)
	s.put(j, time.Now())
	return nil
}

// consume takes a job as a worker does that knows no envelope.
func (w *world) consume(ctx context.Context, namespace string) (string, []byte, error) {
	s := w.find(ctx, namespace)
	s.mu.Lock()
	defer s.mu.Unlock()
	j, _ := s.take([]string{""}, time.Now())
	if j == nil {
		return "", nil, errors.New("nothing to consume")
	}
	s.finish(j, conformance.Finished)
	return j.in.Task, j.payload, nil
}

func (w *world) open(t conformance.T, setup conformance.Setup) conformance.System {
	b := w.bug
	sys := &system{store: w.store(t, setup.Namespace), bug: b, setup: setup}
	caps := referenceCaps()
	names, err := adapter.NewQueueNames("reference", setup.NativeNames, func(string) error { return nil })
	if err != nil {
		t.Fatalf("%v", err)
	}
	sys.names = names
	caps.Refuse = func(in core.Intent) error { return names.Refuse(&in) }
	if b.stored {
		caps.IDWindow.Kind = core.WindowStored
	}
	if b.caps != nil {
		b.caps(&caps)
	}
	bare := core.Executor(sys.execute)
	if b.inner != nil {
		bare = b.inner(bare, sys)
	}
	exec := adapter.Guard(caps, bare)
	if b.outer != nil {
		exec = b.outer(exec, sys)
	}
	if !setup.Paused {
		sys.start()
	}
	out := conformance.System{
		Exec: exec, Caps: caps, Stop: sys.stop, StopAccepting: true, Kill: sys.kill,
		Freeze: sys.freeze, NativeNames: true,
		Start:   func(context.Context) error { sys.start(); return nil },
		Stored:  func(context.Context) ([]conformance.Record, error) { return sys.store.records(), nil },
		Corrupt: func(_ context.Context, task string) error { sys.corrupt(task); return nil },
		Later:   func(_ context.Context, task string) error { sys.later(task); return nil },
	}
	if out.Slots = setup.Slots; out.Slots == 0 {
		out.Slots = defaultSlots
	}
	out.Inspector = &inspector{sys.store}
	if b.inspector != nil {
		out.Inspector = b.inspector(out.Inspector, sys)
	}
	if b.system != nil {
		b.system(&out, sys)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		sys.stop(ctx) //nolint:errcheck // the checks judge Stop; this only frees what is left
	})
	return out
}

func (sys *system) start() {
	sys.mu.Lock()
	defer sys.mu.Unlock()
	if sys.worker == nil && !sys.closed {
		sys.worker = startWorker(sys.store, sys.setup, sys.bug, sys.names)
	}
}

func (sys *system) execute(ctx context.Context, intents ...core.Intent) error {
	if err := ctx.Err(); err != nil {
		return core.Combine(outcomes(intents, core.NotSent, err))
	}
	// Held until the jobs are stored: a call that does not get ErrClosed is before Stop.
	sys.mu.RLock()
	defer sys.mu.RUnlock()
	if sys.closed {
		return core.Combine(outcomes(intents, core.NotSent, core.ErrClosed))
	}
	names := sys.names
	if sys.bug.nameless != nil && sys.bug.nameless(len(intents)) {
		names = adapter.QueueNames{}
	}
	return sys.store.addNamed(intents, names)
}

func outcomes(intents []core.Intent, state core.State, err error) []core.Outcome {
	out := make([]core.Outcome, len(intents))
	for i := range intents {
		out[i] = core.Outcome{ID: intents[i].ID, State: state, Err: err}
	}
	return out
}

func (sys *system) stop(ctx context.Context) error {
	sys.mu.Lock()
	sys.closed = true
	w := sys.worker
	sys.mu.Unlock()
	if w == nil {
		return nil
	}
	return w.stop(ctx)
}

func (sys *system) kill() error {
	sys.mu.Lock()
	sys.closed = true
	w := sys.worker
	sys.mu.Unlock()
	if w != nil {
		w.kill()
	}
	return nil
}

func (sys *system) freeze() (thaw func() error, err error) {
	sys.mu.Lock()
	defer sys.mu.Unlock()
	thawed := sys.worker.freeze()
	return func() error { thawed(); return nil }, nil
}

// corrupt stores a message that cannot be understood.
func (sys *system) corrupt(task string) {
	sys.putOdd(job{in: core.Intent{Task: task, ID: "poison"}, poison: true})
}

// later stores a job with an envelope of a later version, in its last attempt.
func (sys *system) later(task string) {
	in := core.Intent{Task: task, ID: fmt.Sprint("later-", nextNumber()), Options: core.Options{MaxAttempts: 1}}
	sys.putOdd(job{in: in, payload: []byte(`{}`), later: true})
}

func (sys *system) putOdd(j job) {
	s := sys.store
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nextSeq++
	j.rank, j.seq, j.attempt = 5, s.nextSeq, 1
	s.all = append(s.all, &j)
	s.put(&j, time.Now())
}

// inlineHarness is the harness of the simplest executor, which runs each job
// before it returns.
func inlineHarness(caps core.Capabilities, change func(core.Executor, *worker.Registry) core.Executor) conformance.Harness {
	return conformance.Harness{
		Subject:  conformance.Subject{Module: "inline"},
		InBubble: true,
		New: func(t conformance.T, s conformance.Setup) conformance.System {
			exec := adapter.Each(caps, func(ctx context.Context, in core.Intent) error { return runHere(ctx, s.Registry, in) })
			if change != nil {
				exec = change(exec, s.Registry)
			}
			return conformance.System{Exec: exec, Caps: caps, Inline: true}
		},
	}
}

func runHere(ctx context.Context, reg *worker.Registry, in core.Intent) error {
	return performHere(core.WithoutValues(ctx), reg, in)
}

func performHere(ctx context.Context, reg *worker.Registry, in core.Intent) error {
	v := reg.Perform(ctx, worker.FirstDelivery(&in))
	if v.Action == worker.Done {
		return nil
	}
	state := core.Failed
	if v.Action == worker.Parked { // a task that nobody here knows
		state = core.Rejected
	}
	return core.Combine([]core.Outcome{{ID: in.ID, State: state, Err: v.Err}})
}

// inlineCaps are those of an executor that runs jobs in place.
func inlineCaps() core.Capabilities {
	native := core.Claim{Support: core.SupportNative}
	return core.Capabilities{
		Executor: "inline", Delivery: core.GuaranteeAtMostOnce, Durability: core.DurabilityProcess, Order: core.OrderFIFO, DefaultAttempts: 1,
		Options: map[core.OptionName]core.Claim{
			core.OptionQueue: native, core.OptionTimeout: native, core.OptionDeadline: native, core.OptionHeader: native,
			core.OptionPriority: {Support: core.SupportNotApplicable, Reason: "no job ever waits"},
		},
	}
}
