package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/goairlock/airlock/core"
)

// Delivery is one run of a job, as an adapter's worker received it from the queue.
// Printed it shows task, ID and queue. Logged it shows the attempt too. It never
// shows payload, headers or Native.
type Delivery struct {
	ID      string       // the job's ID, from the envelope, otherwise the queue's own
	Task    string       // the task's name
	Queue   string       // "" if the backend has none
	Payload []byte       `json:"-"` // the encoded arguments; not changed by Perform
	Headers core.Headers // what the producer attached

	Attempt     int                // which run this is, from 1; less counts as 1
	MaxAttempts int                // runs in all; 0 if unknown or counted by the backend
	Backoff     core.BackoffPolicy // between attempts; zero for the backend's own
	Timeout     time.Duration      // of this attempt; 0 for none
	Deadline    time.Time          // no run starts after it; zero for none

	// EnvelopeErr is set if the job's envelope could not be decoded. Perform then
	// does not call the handler. The job is Parked if the error wraps
	// [ErrLaterVersion], otherwise Dead.
	EnvelopeErr error

	// Native is the queue's own job value, for [Job.Native]. May be nil.
	Native any `json:"-"`

	// OwnGoroutine says that the worker calls Perform on a goroutine made for this
	// job, and handles its end by runtime.Goexit. Perform then calls the handler on
	// that goroutine. Otherwise it starts a goroutine for the handler, since a
	// Goexit cannot be stopped.
	OwnGoroutine bool

	fn     func(context.Context) error // of core.NewTask, if the job never left the process
	fnTask string                      // the task of fn
}

// FirstDelivery returns the first delivery of an intent's job, for executors that
// run jobs in this process.
func FirstDelivery(in *core.Intent) Delivery {
	o := &in.Options
	return Delivery{
		ID: in.ID, Task: in.Task, Payload: in.Payload(), Headers: in.Headers(),
		Queue: o.Queue, Attempt: 1, MaxAttempts: o.MaxAttempts,
		Backoff: o.Backoff, Timeout: o.Timeout, Deadline: o.Deadline,
		fn: in.Func(), fnTask: in.Task,
	}
}

// ErrLaterVersion says that a stored job has an envelope of a later version than
// this program knows. A worker keeps such a job for a newer worker.
var ErrLaterVersion = errors.New("later version")

// String returns the job's task and ID, and its queue if it has one.
func (d Delivery) String() string { return identity(d.Task, d.ID, d.Queue) }

// Format prints the same as String for every verb.
func (d Delivery) Format(s fmt.State, _ rune) { io.WriteString(s, d.String()) } // fmt keeps the error

// LogValue logs task, ID, queue and attempt.
func (d Delivery) LogValue() slog.Value { return identityValue(d.Task, d.ID, d.Queue, d.Attempt) }

func identity(task, id, queue string) string {
	if queue == "" {
		return task + " " + id
	}
	return task + " " + id + " on " + queue
}

func identityValue(task, id, queue string, attempt int) slog.Value {
	attrs := []slog.Attr{slog.String("task", task), slog.String("id", id)}
	if queue != "" {
		attrs = append(attrs, slog.String("queue", queue))
	}
	return slog.GroupValue(append(attrs, slog.Int("attempt", max(attempt, 1)))...)
}
