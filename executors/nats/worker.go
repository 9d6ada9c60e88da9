package natsexec

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/core"
)

// Worker runs the jobs of a stream's queues. It is made by [NewWorker].
//
// It fetches no more jobs than it has free slots, so that every job that has
// left the stream runs at once, and gives signs of progress while it runs.
// Attempts are counted over all workers: those that earlier messages of the job
// have had, which a header tells, and the deliveries of the message at hand.
//
// What becomes of a job that has run:
//
//	nil                the message is acknowledged, and that is confirmed
//	an error           after the backoff it is delivered again; a wait beyond the
//	                   consumer's ack_wait is a message of its own, scheduled, so
//	                   that waiting jobs do not fill the consumer
//	core.Snooze        scheduled like that, with the attempts it had before
//	core.Permanent     dead, and so is a job whose attempts or time are used up,
//	                   or whose envelope or arguments cannot be read
//	unknown task       scheduled for Options.ParkFor later, no attempt counted
//
// A dead job is published to JOBS.dead.<queue>.<task> with its headers, and with
// why in Airlock-Reason, and its message terminated with the same reason. Nothing
// takes dead jobs away but who looks after them.
//
// On a stream without schedules every retry waits in its consumer, a snooze
// fails the job, and jobs of unknown tasks are dead.
type Worker struct {
	js       jetstream.JetStream
	conn     *nats.Conn
	api      string // the prefix of JetStream's own subjects
	stream   string
	registry *core.Registry
	opts     Options
	running  atomic.Bool

	schedules bool // of the stream; set by Run
	sources   []*source
	slots     chan struct{} // one value for each free slot

	jobs    sync.WaitGroup          // fetches and jobs
	active  atomic.Int64            // jobs
	gone    atomic.Bool             // Run has returned, and jobs that did not end are given up
	stop    context.CancelCauseFunc // ends the feeding, with why Run fails
	hard    context.Context
	endJobs context.CancelCauseFunc
}

// NewWorker returns a worker that runs the stream's jobs with the registry's
// handlers, for [Worker.Run]. Nil opts are the zero [Options]. It returns
// [core.ErrInvalid] for nil arguments, options out of range and bad queue names,
// and does no I/O.
func NewWorker(js jetstream.JetStream, stream string, registry *core.Registry, opts *Options) (*Worker, error) {
	o, err := opts.orDefaults()
	if err != nil {
		return nil, err
	}
	switch {
	case js == nil:
		return nil, invalidf("nil JetStream")
	case stream == "":
		return nil, invalidf("empty stream name")
	case registry == nil:
		return nil, invalidf("nil registry")
	}
	if o.Queues, err = queues(o.Queues); err != nil {
		return nil, err
	}
	return &Worker{js: js, conn: js.Conn(), api: apiPrefix(js), stream: stream, registry: registry, opts: o}, nil
}

// queueNamed is a task for judging queue names by core's own rule.
var queueNamed = core.DeclareTask[struct{}]("airlock.queue")

func queues(given []string) ([]string, error) {
	var list []string
	for _, q := range given {
		if q == "" {
			q = defaultQueue
		}
		if _, err := queueNamed.Intent(struct{}{}, core.Queue(q)); err != nil {
			return nil, invalidf("Options.Queues: %q is no queue name", q)
		}
		if !slices.Contains(list, q) {
			list = append(list, q)
		}
	}
	if len(list) == 0 {
		list = []string{defaultQueue}
	}
	return list, nil
}

// errStopping is the cause that a job finds on its context when a drain is over.
var errStopping = errors.New("airlock: nats: the worker stops")

// afterHard is how long jobs have to return once their context has ended.
const afterHard = 5 * time.Second

// Run creates the consumers that its queues lack and works until ctx ends. Then
// it drains: no job is started any more; those that run may go on for
// Options.DrainTimeout; those that were on their way from the server are
// published again with the attempts they had. At the end of that time the
// contexts of running jobs end, and one that then fails is published again
// without this run counting as an attempt. Jobs that are delayed stay in the
// stream and need no worker.
//
// It returns nil after a drain, and an error that names how many handlers did
// not return within 5 seconds of their context's end; their jobs are run again
// after the consumer's ack_wait.
//
// What passes does not end it, at its start no more than later: no connection, no
// answer, a stream or consumer without a leader. It goes on trying until ctx ends,
// and tells Options.Logger each time. A user who may not use JetStream's subjects
// gets no answer either; the client's own error handler says why.
//
// What does not pass it returns before it works: what [New] returns of a stream
// that is not there or does not fit, [core.ErrInvalid] for a consumer that does
// not fit, and JetStream's other errors. A connection that is closed ends it at any
// time, with nats.ErrConnectionClosed after the drain. A second Run at a time is
// [core.ErrInvalid].
func (w *Worker) Run(ctx context.Context) error {
	if ctx == nil {
		return invalidf("nil context")
	}
	if !w.running.CompareAndSwap(false, true) {
		return invalidf("Run of a worker that runs")
	}
	defer w.running.Store(false)
	if ctx.Err() != nil {
		return nil
	}
	if err := w.open(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	w.hard, w.endJobs = context.WithCancelCause(context.Background())
	defer w.endJobs(nil)
	feeding, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	w.stop = stop
	w.feed(feeding)
	var closed error
	if ctx.Err() == nil { // nobody asked it to stop
		closed = context.Cause(feeding)
	}
	return errors.Join(closed, w.drain())
}

// drain waits for fetches and jobs, as Run says.
func (w *Worker) drain() error {
	done := make(chan struct{})
	go func() { w.jobs.Wait(); close(done) }()
	if within(done, w.opts.DrainTimeout) {
		return nil
	}
	w.endJobs(errStopping)
	if within(done, afterHard) {
		return nil
	}
	w.gone.Store(true)
	return fmt.Errorf("airlock: nats: %d jobs did not end within %v of their context's end: they will run again",
		w.active.Load(), afterHard)
}

func within(done <-chan struct{}, limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}
