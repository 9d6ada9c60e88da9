package asynqexec

import (
	"time"

	"github.com/hibiken/asynq"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

const (
	envelopeHeader = "Airlock-Envelope"
	maxOptions     = 8 // of a task: at most one of each kind
)

// noTimeout means none: asynq puts 30 minutes in the place of 0. A real limit of
// asynq's would take the job away while its handler runs.
var noTimeout = asynq.Timeout(longest)

// enqueueParams is one intent in asynq's form.
type enqueueParams struct {
	task  *asynq.Task
	queue string // the lane
	guard *guard // nil if asynq's own script is enough
}

// toNative maps an intent. The task's options go into buf: asynq is done with
// them when the enqueuing call returns.
func (e *Executor) toNative(in *core.Intent, buf []asynq.Option, now time.Time) enqueueParams {
	o := &in.Options
	queue := e.names.Native(o.Queue)
	lane := laneOf(queue, o.Priority)

	// asynq archives every job that does not succeed in its last retry, also one that
	// is snoozed. So it gets one retry more than the envelope allows.
	opts := append(buf[:0], asynq.Queue(lane), asynq.TaskID(in.ID), noTimeout, asynq.MaxRetry(maxAttemptsOf(in)))
	if o.At.After(now) {
		opts = append(opts, asynq.ProcessAt(adapter.RoundUpTime(o.At, time.Second)))
	}
	keep := e.window
	if in.Has(core.OptionNative) {
		n := nativeOf(in)
		if d := adapter.RoundUp(n.retention, time.Second); d > e.retention {
			keep = asynq.Retention(d)
		}
		if n.group != "" {
			opts = append(opts, asynq.Group(n.group))
		}
	}
	if keep != nil {
		opts = append(opts, keep)
	}
	return enqueueParams{
		task:  asynq.NewTaskWithHeaders(in.Task, in.Payload(), headersOf(in), opts...),
		queue: lane,
		guard: e.guard(in, queue, lane),
	}
}

func maxAttemptsOf(in *core.Intent) int {
	if n := in.Options.MaxAttempts; n > 0 {
		return n
	}
	return core.DefaultMaxAttempts
}

// headersOf returns the intent's headers and the envelope. asynq copies the map.
func headersOf(in *core.Intent) map[string]string {
	o, given := &in.Options, in.Headers()
	plain := o.MaxAttempts == 0 && o.Timeout == 0 && o.Backoff.IsZero() && o.Deadline.IsZero() && o.Unique == ""
	if plain && given.Len() == 0 {
		return plainHeaders
	}
	headers := make(map[string]string, given.Len()+1)
	for k, v := range given.All() {
		headers[k] = v
	}
	if plain {
		headers[envelopeHeader] = plainHeaders[envelopeHeader]
		return headers
	}
	headers[envelopeHeader] = string(adapter.Envelope{
		MaxAttempts: maxAttemptsOf(in), Backoff: o.Backoff, Timeout: o.Timeout, Deadline: o.Deadline,
		Unique: o.Unique, // for the inspector: a retry must hold the lock again
	}.Encode())
	return headers
}

// plainHeaders are those of most intents. Never changed.
var plainHeaders = map[string]string{
	envelopeHeader: string(adapter.Envelope{MaxAttempts: core.DefaultMaxAttempts}.Encode()),
}
