package celeryexec

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/internal/amqplink"
	"github.com/goairlock/airlock/worker"
)

// rabbitWorker is a [Worker] on RabbitMQ.
type rabbitWorker struct {
	crew
	queues    []*rabbitQueue
	link      *amqplink.Link
	publisher *amqplink.Publisher
	inHand    rabbitInHand
	troubled  atomic.Bool // a verdict could not be recorded, and that was logged
}

// NewAMQPWorker returns a worker for the registry's tasks on RabbitMQ. It does no I/O.
// Run makes two connections with dial, and closes them. Nil opts are the zero
// [WorkerOptions]. A nil dial or registry, WorkerOptions.Redis or PollInterval, and
// options that are not what their comments say are [core.ErrInvalid].
func NewAMQPWorker(dial Dial, reg *worker.Registry, opts *WorkerOptions) (*Worker, error) {
	switch {
	case dial == nil:
		return nil, invalid("NewAMQPWorker: nil dial function")
	case reg == nil:
		return nil, invalid("NewAMQPWorker: nil registry")
	case opts != nil && (opts.Redis != RedisOptions{} || opts.PollInterval != 0):
		return nil, invalid("NewAMQPWorker: WorkerOptions.Redis and PollInterval are for NewWorker")
	}
	o, err := opts.checked()
	if err != nil {
		return nil, err
	}
	if o.AMQP, err = o.AMQP.checked(); err != nil {
		return nil, err
	}
	if o.Concurrency > maxPrefetch-mostHeld {
		return nil, invalid("WorkerOptions.Concurrency: %d, want at most %d on RabbitMQ", o.Concurrency, maxPrefetch-mostHeld)
	}
	names, err := newQueueNames(o.QueueNames, possibleAMQPQueue)
	if err != nil {
		return nil, err
	}
	worked, err := names.Worked(o.Queues, reg.Queues())
	if err != nil {
		return nil, err
	}
	w := &rabbitWorker{
		crew: newCrew(reg, o), link: newLink(dial, o.Logger), publisher: newPublisher(dial),
		inHand: rabbitInHand{jobs: map[string][]*rabbitJob{}},
	}
	for _, queue := range worked {
		if err := names.check(queue); err != nil {
			return nil, err
		}
		w.queues = append(w.queues, &rabbitQueue{source: source{queue, names.Native(queue)}, slots: o.Concurrency})
	}
	return &Worker{crew: crew{drain: w.drain}, rabbit: w}, nil
}

func (w *rabbitWorker) run(ctx context.Context) error {
	recording, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	for _, q := range w.queues {
		w.loops.Go(func() { w.consume(ctx, recording, q) })
	}
	<-ctx.Done()
	ended, err := w.stop()
	giveUp()
	w.link.Close()
	w.publisher.Close()
	<-ended
	return err
}

// begin runs a job in a slot that it has. It returns at once.
func (w *rabbitWorker) begin(recording context.Context, j *rabbitJob) {
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
		<-w.slots // RabbitMQ sends the next message when it has the acknowledgement
		if ok {
			w.apply(recording, j, v)
			recorded()
		}
	}()
}

// finish applies a verdict to a job without a run.
func (w *rabbitWorker) finish(recording context.Context, j *rabbitJob, v worker.Verdict) {
	w.record(func() { w.apply(recording, j, v) })
}

// logApply logs once that verdicts cannot be recorded.
func (w *rabbitWorker) logApply(err error) {
	if !w.troubled.Swap(true) {
		w.opts.Logger.Warn("airlock: celery: rabbitmq: cannot publish the copies of jobs, will try again",
			slog.String("error", adapter.ErrorText(err, maxErrorText)))
	}
}
