package celeryexec

import (
	"github.com/goairlock/airlock/adapter"
)

// NewAMQP returns an executor for Celery workers whose broker is RabbitMQ. It does no
// I/O: the first dispatch connects with dial. Nil opts are the zero [Options]. A nil
// dial, Options.Redis, and options that are not what their comments say are
// [core.ErrInvalid].
func NewAMQP(dial Dial, opts *Options) (*Executor, error) {
	if dial == nil {
		return nil, invalid("NewAMQP: nil dial function")
	}
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.Redis != (RedisOptions{}) {
		return nil, invalid("NewAMQP: Options.Redis is for New")
	}
	var err error
	if o.AMQP, err = o.AMQP.checked(); err != nil {
		return nil, err
	}
	if o.Attempts < 0 {
		return nil, invalid("Options.Attempts: %d, want at least 0", o.Attempts)
	}
	names, err := newQueueNames(o.QueueNames, possibleAMQPQueue)
	if err != nil {
		return nil, err
	}
	e := &Executor{
		dial: dial, publisher: newPublisher(dial), names: names, priorities: o.Priorities,
		caps: amqpCapabilities(&o, names),
	}
	e.guarded = adapter.Guard(e.caps, e.publish)
	return e, nil
}

// Close closes the connection to RabbitMQ that the executor has made. Calls that are
// under way are Unknown, and later ones are NotSent with [core.ErrClosed]. Further
// calls of Close do nothing, and neither does Close of an executor on Redis, whose
// client is the caller's.
func (e *Executor) Close() error {
	if e == nil || e.guarded == nil {
		return errZeroExecutor
	}
	if e.publisher != nil {
		e.publisher.Close()
	}
	return nil
}
