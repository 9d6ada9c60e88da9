package asynqexec

import (
	"time"

	"github.com/hibiken/asynq"

	"github.com/goairlock/airlock/core"
)

const (
	defaultQueue   = "default"
	envelopeHeader = "Airlock-Envelope"
	mostOptions    = 8 // of a task, at the most one of each kind
)

// noTimeout stands for none: asynq puts 30 minutes in the place of 0.
var noTimeout = asynq.Timeout(longest)

// order is one intent as asynq takes it.
type order struct {
	task  *asynq.Task
	queue string // the lane
	guard *guard // nil if asynq's own script is enough
}

// order maps an intent. The task's options go into buf: asynq is done with them
// when the enqueuing call returns.
func (e *Executor) order(in *core.Intent, buf []asynq.Option, now time.Time) order {
	o := &in.Options
	queue := o.Queue
	if queue == "" {
		queue = defaultQueue
	}
	lane := laneOf(queue, o.Priority)

	opts := append(buf[:0], asynq.Queue(lane), asynq.TaskID(in.ID))
	if o.MaxAttempts > 0 {
		opts = append(opts, asynq.MaxRetry(o.MaxAttempts-1))
	}
	if o.Timeout > 0 {
		opts = append(opts, asynq.Timeout(wholeSeconds(o.Timeout)))
	} else {
		opts = append(opts, noTimeout)
	}
	if o.At.After(now) {
		opts = append(opts, asynq.ProcessAt(nextSecond(o.At)))
	}
	keep := e.window
	if in.Has(core.OptionNative) {
		n := nativeOf(in)
		if d := wholeSeconds(n.retention); d > e.retention {
			keep = asynq.Retention(d)
		}
		if n.group != "" {
			opts = append(opts, asynq.Group(n.group))
		}
	}
	if keep != nil {
		opts = append(opts, keep)
	}
	return order{
		task:  asynq.NewTaskWithHeaders(in.Task, in.Payload(), headersOf(in), opts...),
		queue: lane,
		guard: e.guard(in, queue, lane),
	}
}

// headersOf are the intent's headers and, if there is something that asynq has no
// field for, the envelope.
func headersOf(in *core.Intent) map[string]string {
	o := &in.Options
	envelope := core.Envelope{Backoff: o.Backoff, Deadline: o.Deadline}
	if o.Timeout%time.Second != 0 {
		envelope.Timeout = o.Timeout
	}
	own := !envelope.Backoff.IsZero() || !envelope.Deadline.IsZero() || envelope.Timeout != 0
	given := in.Headers()
	if !own && given.Len() == 0 {
		return nil
	}
	headers := make(map[string]string, given.Len()+1)
	for k, v := range given.All() {
		headers[k] = v
	}
	if own {
		headers[envelopeHeader] = string(envelope.Encode())
	}
	return headers
}

// wholeSeconds rounds up, for asynq cuts fractions off: half a second would be
// none.
func wholeSeconds(d time.Duration) time.Duration {
	if rest := d % time.Second; rest > 0 {
		return d - rest + time.Second
	}
	return d
}

// nextSecond is the first full second that is not before t.
func nextSecond(t time.Time) time.Time {
	if t.Nanosecond() == 0 {
		return t
	}
	return t.Add(time.Second - time.Duration(t.Nanosecond()))
}
