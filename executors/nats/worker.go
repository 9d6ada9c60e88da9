package natsexec

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/worker"
)

// Worker runs the jobs of a stream's queues. It is made by [NewWorker].
//
// It fetches no more jobs than it has free slots, so that every job that has left
// the stream runs at once. It renews the lease of each job while that runs.
// Attempts are counted over all workers: those of the job's earlier messages, which
// a header has, and the deliveries of this message. A job that is found with all of
// them used up is dead: the worker of the last one never answered.
//
// What becomes of a job that has run:
//
//	nil                the message is acknowledged, and the server confirms that
//	an error           the message is delivered again after the backoff. A longer
//	                   wait than ack_wait is a message of its own, scheduled, so
//	                   that waiting jobs do not fill the consumer
//	worker.Snooze      scheduled like that, with the attempts it had before
//	worker.Permanent   dead, and so is a job whose attempts or time are used up,
//	                   or whose envelope or arguments cannot be read
//	unknown task       scheduled for WorkerOptions.ParkFor later, with the attempts
//	                   it had before. The same for an envelope of a later version
//
// On a stream without schedules such a message is stored at once with the header
// Airlock-Not-Before, and waits in its consumer.
//
// A dead job is moved to JOBS.dead.<queue>.<task>, see the package comment. A
// message whose subject has no task name is dead too, as ~unusable. A message that
// is too large to be moved with its reason is moved without.
//
// A worker decides about a job only while it has the lease: ack_wait from the
// delivery or from its last sign that the server confirmed, less a tenth. Past that
// another worker may have the job, and all that still counts is a success. Anything
// else is dropped and logged at Warn.
type Worker struct {
	js       jetstream.JetStream
	conn     *nats.Conn
	api      string // the prefix of JetStream's own subjects
	stream   string
	registry *worker.Registry
	opts     WorkerOptions
	queues   adapter.QueueNames
	started  atomic.Bool

	// Of Run.
	target    target
	schedules bool                  // the stream allows them
	fenced    bool                  // the stream takes claims
	storage   jetstream.StorageType // of the stream
	sources   []*source
	released  atomic.Int64  // slots that became free, until the feeder takes them
	wake      chan struct{} // has a value if there are some
	idle      chan delivery // goroutines wait for the next job on it
	serving   atomic.Int64  // goroutines that run jobs, or wait for one
	stop      context.CancelCauseFunc
	drain     *adapter.Drain  // knows the handlers that run
	fetches   sync.WaitGroup  // what finds jobs
	work      workGroup       // everything about a job but its handler
	settling  context.Context // ends when Run gives up what the server does not answer
	receipts  *receipts
	jobs      jobList
	health    health
}

// NewWorker returns a worker that runs the stream's jobs with the registry's
// handlers, for [Worker.Run]. Nil opts are the zero [WorkerOptions]. It returns
// [core.ErrInvalid] for nil arguments, options out of range and bad queue names,
// and does no I/O.
func NewWorker(js jetstream.JetStream, stream string, reg *worker.Registry, opts *WorkerOptions) (*Worker, error) {
	o, err := opts.orDefaults()
	if err != nil {
		return nil, err
	}
	switch {
	case js == nil:
		return nil, invalidf("nil JetStream")
	case reg == nil:
		return nil, invalidf("nil registry")
	}
	if err := checkStreamName(stream); err != nil {
		return nil, err
	}
	queues, err := newQueueNames(o.QueueNames)
	if err != nil {
		return nil, err
	}
	if o.Queues, err = queues.Worked(o.Queues, reg.Queues()); err != nil {
		return nil, err
	}
	return &Worker{js: js, conn: js.Conn(), api: apiPrefix(js), stream: stream, registry: reg, opts: o, queues: queues}, nil
}

// Run creates the consumers that its queues lack and works until ctx ends. Then it
// drains. It starts no more jobs, and lets those that run go on for
// WorkerOptions.DrainTimeout. Then it ends their contexts, with the cause
// worker.ErrStopping, and publishes those that fail again without counting the
// attempt. It does the same with jobs that were on their way from the server.
// Delayed jobs stay in the stream and need no worker.
//
// Run returns nil after a drain, and a [*worker.DrainError] if handlers did not
// return within 5 seconds of their context's end. Their jobs run again after the
// consumer's ack_wait.
//
// What passes does not end Run, at its start no more than later: no connection, no
// answer, a stream or consumer without a leader, missing permissions. Run tries
// again until ctx ends, and logs once when the trouble begins and once when it is
// over. Each queue does so alone: the others go on. A consumer that is changed or made
// anew while Run works, and does not fit, is logged at Error. Its jobs stay where they
// are until it is changed again or deleted, and then Run creates it.
//
// What does not pass Run returns before it works: jetstream.ErrStreamNotFound,
// [core.ErrInvalid] for a stream or a consumer that does not fit, and JetStream's
// other errors. A connection that is closed ends Run at any time, with
// nats.ErrConnectionClosed after the drain. Run may be called once: a second call is
// core.ErrInvalid, as is a nil or zero Worker.
func (w *Worker) Run(ctx context.Context) error {
	switch {
	case w == nil || w.registry == nil:
		return invalidf("zero Worker: workers are made by NewWorker")
	case ctx == nil:
		return invalidf("nil context")
	case !w.started.CompareAndSwap(false, true):
		return invalidf("second Run of a worker")
	}
	if err := w.connect(ctx); err != nil || ctx.Err() != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	w.drain = adapter.NewDrain(w.opts.DrainTimeout)
	var giveUp context.CancelFunc
	w.settling, giveUp = context.WithCancel(context.Background())
	defer giveUp()
	feeding, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	w.stop = stop
	w.drain.Until(feeding)
	w.wake, w.idle = make(chan struct{}, 1), make(chan delivery)
	var err error
	if w.receipts, err = w.newReceipts(); err != nil {
		return fmt.Errorf("airlock: nats: %w", err)
	}
	var keeping sync.WaitGroup
	over := make(chan struct{})
	keeping.Go(func() { w.receipts.keep(over) })
	w.fetches.Go(func() { w.watchLanes(feeding) })
	w.fetches.Go(func() { w.watchConnection(feeding) })
	w.fetches.Go(func() { w.newFeeder().run(feeding) })
	<-feeding.Done()
	var closed error
	if ctx.Err() == nil { // nobody asked it to stop
		closed = context.Cause(feeding)
	}
	drained := make(chan error, 1)
	go func() { drained <- w.drain.Stop() }()
	w.fetches.Wait()
	err = <-drained
	w.work.close(settleGrace, giveUp)
	close(w.idle)
	close(over)
	keeping.Wait()
	if closed == nil {
		return err
	}
	return errors.Join(closed, err)
}

// settleGrace is how long Run still tries to have the server confirm what became
// of its jobs, once their handlers have returned.
const settleGrace = 5 * time.Second

// A workGroup counts work that must be over before Run returns.
type workGroup struct {
	mu     sync.Mutex
	closed bool // guarded by mu
	wg     sync.WaitGroup
}

// begin returns false once Run has given up waiting.
func (g *workGroup) begin() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.wg.Add(1)
	}
	return !g.closed
}

func (g *workGroup) end() { g.wg.Done() }

// close lets no more work begin and waits for what has begun, after limit with its
// contexts ended by giveUp.
func (g *workGroup) close(limit time.Duration, giveUp func()) {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	timer := time.AfterFunc(limit, giveUp)
	defer timer.Stop()
	g.wg.Wait()
}

// shortestLease is that of the consumer with the shortest.
func (w *Worker) shortestLease() time.Duration {
	shortest := w.sources[0].lease()
	for _, s := range w.sources[1:] {
		shortest = min(shortest, s.lease())
	}
	return shortest
}
