package celeryexec

import (
	"context"
	"crypto/rand"
	"sync"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/worker"
)

// Worker runs the jobs of queues, which Python programs or an [Executor] have sent. It
// is made by [NewWorker] or [NewAMQPWorker].
//
// The handler gets one value. With the message of task.delay(17) that is 17, with
// task.delay(17, "x") it is [17, "x"], and with task.delay(order=17) it is
// {"order": 17}. A message with positional and keyword arguments is dead, and so is
// one with callbacks, a chain or a chord, since those are a Celery worker's to go on
// with. The handler finds its message in worker.Job.Native: on Redis as a
// [json.RawMessage], on RabbitMQ as a [*amqp.Delivery], which it must not acknowledge.
//
// What becomes of a job that has run:
//
//	nil               it is gone
//	an error          a copy of its message waits for WorkerOptions.Backoff, in eta,
//	                  with one more in retries, as after a retry of Celery
//	worker.Snooze     the same, and retries stays
//	worker.Permanent  dead, see [DeadQueue]; so is a job whose attempts are used up or
//	                  whose message cannot be read
//
// A job that has begun counts as an attempt also if its worker crashed, which Celery
// itself does not count.
//
// A job that is due later waits in the worker's memory, as in Celery. If 20 000 do,
// the worker takes no more until some of them have begun.
//
// On Redis, while a job runs or waits in the worker, the worker keeps it from being
// given to another one, however long that takes. The jobs of a worker that crashed, and
// those of Celery workers, go to another worker after RedisOptions.VisibilityTimeout.
//
// On RabbitMQ a copy of the message is published and confirmed before the message is
// acknowledged. A crash between the two runs the job twice. If the connection is lost,
// RabbitMQ delivers the messages in hand again. The worker recognises them and does not
// run them once more. Another worker cannot know and runs them. A classic queue does not
// say how often it has delivered a message, so one that was delivered before counts as
// one more attempt, also if it had not begun.
//
// RabbitMQ takes a job away that runs for more than consumer_timeout. If the same worker
// gets it back, the run goes on. A job that waits goes back to the queue before that, as
// often as needed. The worker consumes classic queues, like Celery 5.2. It does not
// declare them: it waits for a Celery program to do so. It declares the queues for dead
// jobs, see [DeadQueue].
type Worker struct {
	crew
	rabbit *rabbitWorker // nil on Redis, where it does not use the rest

	broker *broker
	queues []source
	id     string
	inHand inHand
	fetch  fetcher
	link   outage
	ran    atomic.Bool
}

// source is a queue that is worked.
type source struct{ portable, native string }

// NewWorker returns a worker for the registry's tasks on Redis, on the caller's client,
// which it does not close. It does no I/O. Nil opts are the zero [WorkerOptions]. A nil
// client or registry, a cluster, WorkerOptions.AMQP, and options that are not what their
// comments say are [core.ErrInvalid].
func NewWorker(rdb redis.UniversalClient, reg *worker.Registry, opts *WorkerOptions) (*Worker, error) {
	o, err := opts.checked()
	if err != nil {
		return nil, err
	}
	if o.AMQP != (AMQPOptions{}) {
		return nil, invalid("NewWorker: WorkerOptions.AMQP is for NewAMQPWorker")
	}
	b, err := newBroker(rdb, o.Redis)
	if err != nil {
		return nil, err
	}
	if reg == nil {
		return nil, invalid("NewWorker: nil registry")
	}
	names, err := newQueueNames(o.QueueNames, possibleQueue)
	if err != nil {
		return nil, err
	}
	worked, err := names.Worked(o.Queues, reg.Queues())
	if err != nil {
		return nil, err
	}
	w := &Worker{
		crew: newCrew(reg, o), broker: b, id: rand.Text(),
		inHand: inHand{jobs: map[string]*job{}}, link: outage{log: o.Logger},
	}
	for _, queue := range worked {
		if err := names.check(queue); err != nil {
			return nil, err
		}
		w.queues = append(w.queues, source{queue, names.Native(queue)})
	}
	return w, nil
}

// Run works until ctx ends. Then it takes no more jobs, waits DrainTimeout for those
// that run, ends their contexts with the cause [worker.ErrStopping], and puts their
// jobs back without using up an attempt. It returns nil, or a [*worker.DrainError] if
// handlers ignored the end of their contexts: their jobs go to another worker, on Redis
// after the visibility timeout, and the attempt counts.
//
// A broker that is away, at the start or later, is tried again, which is logged once,
// and so is a queue of RabbitMQ that does not exist.
// Run works once. A second call, and a nil or zero Worker, are [core.ErrInvalid].
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
	if w.rabbit != nil {
		return w.rabbit.run(ctx)
	}
	recording, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	var keeping sync.WaitGroup
	keeping.Go(func() { w.keepLoop(recording) })
	keeping.Go(func() { w.restoreLoop(ctx) })
	w.loops.Go(func() { w.fetchLoop(ctx, recording) })
	<-ctx.Done()
	ended, err := w.stop()
	giveUp()
	<-ended
	keeping.Wait()
	return err
}

// begin runs a job in a slot that it has. It returns at once.
func (w *Worker) begin(recording context.Context, j *job) {
	end, ok := w.drain.Begin(&j.delivery)
	if !ok {
		<-w.slots
		w.finish(recording, j, worker.Verdict{Action: worker.Interrupted, Err: errStopping})
		return
	}
	go func() {
		v := w.perform(recording, &j.delivery)
		recorded, ok := w.ending.Begin()
		end()
		if ok {
			w.apply(recording, j, v)
			recorded()
		}
		<-w.slots
	}()
}

// finish applies a verdict to a job without a run.
func (w *Worker) finish(recording context.Context, j *job, v worker.Verdict) {
	w.record(func() { w.apply(recording, j, v) })
}
