package rabbitexec

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/internal/amqplink"
	"github.com/goairlock/airlock/worker"
)

const (
	recordFor = 5 * time.Second // how long verdicts may take to be recorded when the worker stops
	// settleFor is how long a connection stays open after the last acknowledgement.
	// Quorum queues of RabbitMQ take many at a time, keep further ones back in the
	// channel, and drop these if the connection ends (rabbit_fifo_client).
	settleFor     = 500 * time.Millisecond
	publishers    = 8 // channels for copies
	confirmWithin = 10 * time.Second
)

var (
	errUsedUp   = errors.New("airlock: rabbitmq: attempts used up; the last worker never answered")
	errStopping = errors.New("airlock: rabbitmq: the worker stops before the job has begun")
)

// Worker runs the jobs of queues. It is made by [NewWorker].
//
// A run that ends with nil acknowledges the message. After any other one the worker
// publishes a copy, which waits or is in the queue of dead jobs. A handler's answer
// counts even after its time is up.
//
// If the connection is lost, RabbitMQ delivers the messages in hand again. A worker
// that gets one whose handler still runs, or has ended, does not run it once more.
// Another worker cannot know and runs it.
type Worker struct {
	topology  topology
	reg       *worker.Registry
	opts      WorkerOptions
	queues    []*queue
	link      *amqplink.Link
	publisher *publisher

	slots     chan struct{}
	drain     *adapter.Drain
	inHand    inHand
	loops     sync.WaitGroup            // one for each queue
	ending    adapter.Tally             // verdicts that are being recorded
	troubled  atomic.Bool               // a verdict could not be recorded, and that was logged
	inboxLost atomic.Bool               // the inbox could not be reached, and that was logged
	lastAck   atomic.Pointer[time.Time] // when a message was acknowledged last
	ran       atomic.Bool
}

type queue struct{ name, native string }

// NewWorker returns a worker for the registry's tasks. It does no I/O. Run makes two
// connections with dial, and closes them. Nil opts are the zero [WorkerOptions]. A nil
// dial or registry, and options out of range, are [core.ErrInvalid].
func NewWorker(dial Dial, reg *worker.Registry, opts *WorkerOptions) (*Worker, error) {
	switch {
	case dial == nil:
		return nil, invalid("NewWorker: nil dial function")
	case reg == nil:
		return nil, invalid("NewWorker: nil registry")
	}
	o, err := opts.checked()
	if err != nil {
		return nil, err
	}
	t, err := newTopology(o.Topology)
	if err != nil {
		return nil, err
	}
	w := &Worker{
		topology: t, reg: reg, opts: o,
		link:      newLink(dial, o.Logger, "worker"),
		publisher: newPublisher(newLink(dial, nil, ""), publishers, confirmWithin),
		slots:     make(chan struct{}, o.Concurrency),
		drain:     adapter.NewDrain(o.DrainTimeout),
		inHand:    inHand{jobs: map[string]*job{}, remembered: map[string]remembered{}},
	}
	names := o.Queues
	if names == nil {
		names = append([]string{defaultQueue}, reg.Queues()...)
	}
	for i, name := range names {
		if err := validQueue(name); err != nil {
			return nil, err
		}
		if err := t.refuse(&core.Intent{Options: core.Options{Queue: name}}); err != nil {
			return nil, err
		}
		if !slices.Contains(names[:i], name) {
			w.queues = append(w.queues, &queue{name, t.native(name)})
		}
	}
	return w, nil
}

// Run works until ctx ends. Then it takes no more jobs, waits DrainTimeout for those
// that run, ends their contexts with the cause [worker.ErrStopping], and puts their
// jobs back without using up an attempt. It returns nil, or a [*worker.DrainError] if
// handlers ignored the end of their contexts: RabbitMQ delivers their jobs again, and
// on a quorum queue the attempt counts.
//
// A RabbitMQ that is away, at the start or later, and a queue that does not exist are
// tried again. Each is logged once, and once when it is back. Run works once. A
// second call, and a nil or zero Worker, are [core.ErrInvalid].
func (w *Worker) Run(ctx context.Context) error {
	switch {
	case w == nil || w.drain == nil:
		return invalid("zero Worker: workers are made by NewWorker")
	case ctx == nil:
		return invalid("Run: nil context")
	case w.ran.Swap(true):
		return invalid("Run was called before")
	}
	w.drain.Until(ctx)
	recording, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	for _, q := range w.queues {
		w.loops.Go(func() { w.consume(ctx, recording, q) })
	}
	<-ctx.Done()
	err := w.drain.Stop()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.loops.Wait()
		w.ending.Wait()
	}()
	timer := time.NewTimer(recordFor)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	}
	if last := w.lastAck.Load(); last != nil && !w.topology.Classic {
		amqplink.Sleep(recording, time.Until(last.Add(settleFor)))
	}
	giveUp()
	w.link.Close()
	w.publisher.Close()
	<-ended
	return err
}

// begin runs a job in a slot that it has. It returns at once.
func (w *Worker) begin(recording context.Context, d *amqp.Delivery, q *queue) {
	j := newJob(d, q)
	end, ok := w.drain.Begin(&j.delivery)
	if !ok {
		<-w.slots
		w.finish(recording, j, worker.Verdict{Action: worker.Interrupted, Err: errStopping})
		return
	}
	w.inHand.add(j)
	go func() {
		if run, ok := w.admit(recording, j); !run {
			end()
			<-w.slots
			if ok { // the job has another message, or has ended
				j.left = true
				w.finish(recording, j, worker.Verdict{Action: worker.Done})
			}
			return
		}
		v, took := w.perform(j)
		v = w.feasible(v, j.delivery.Attempt)
		adapter.LogRun(recording, w.opts.Logger, worker.Run{Delivery: j.delivery, Verdict: v, Took: took})
		recorded, ok := w.ending.Begin()
		end()
		<-w.slots // RabbitMQ sends the next message when it has the acknowledgement
		if ok {
			w.apply(recording, j, v)
			recorded()
		}
	}()
}

// finish applies a verdict to a message without a run. A Retry without a wait goes
// back to the queue at once.
func (w *Worker) finish(recording context.Context, j *job, v worker.Verdict) {
	recorded, ok := w.ending.Begin()
	if !ok {
		return
	}
	w.inHand.add(j)
	go func() {
		w.apply(recording, j, v)
		recorded()
	}()
}

func newJob(d *amqp.Delivery, q *queue) *job {
	j := &job{queue: q, mark: markOf(d.Headers), token: tokenOf(d), current: d}
	j.delivery, j.unique = readMessage(d, q.name)
	return j
}

// perform runs the job, unless its attempts are used up.
func (w *Worker) perform(j *job) (worker.Verdict, time.Duration) {
	d := &j.delivery
	if d.Attempt > d.MaxAttempts && d.EnvelopeErr == nil {
		v := worker.Verdict{Action: worker.Dead, Err: errUsedUp}
		w.reg.Report(w.drain.Context(), worker.Run{Delivery: *d, Verdict: v})
		return v, 0
	}
	began := time.Now()
	v := w.reg.Perform(w.drain.Context(), *d)
	return v, time.Since(began)
}

// logApply logs once that verdicts cannot be recorded.
func (w *Worker) logApply(err error) {
	if !w.troubled.Swap(true) {
		w.opts.Logger.Warn("airlock: rabbitmq: cannot publish the copies of jobs, will try again",
			slog.String("error", adapter.ErrorText(err, maxErrorText)))
	}
}

// logInbox logs once that the inbox cannot be reached.
func (w *Worker) logInbox(err error) {
	if !w.inboxLost.Swap(true) {
		w.opts.Logger.Warn("airlock: rabbitmq: cannot reach the inbox, will try again",
			slog.String("error", adapter.ErrorText(err, maxErrorText)))
	}
}
