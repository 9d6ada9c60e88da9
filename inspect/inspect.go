// Package inspect looks at a queue and acts on its jobs, in the same way on every
// queue: how many jobs wait, how old the oldest is, which jobs are dead and why, and
// run them again or discard them.
//
//	view, err := asynqexec.NewInspector(rdb, nil)
//	…
//	depth, err := view.Depth(ctx, "mail")
//	for job, err := range inspect.All(ctx, view, inspect.Query{Queue: "mail", State: inspect.Dead}) {
//		…
//	}
//	err = view.Retry(ctx, "mail", id)
//
// The executor packages of queues have a NewInspector. An inspector starts no
// goroutine, and there is nothing to close.
//
// # States
//
// Each queue has its own states. An inspector reports them as one of the states of
// this package. A job whose state changes during a call is reported in its old or in
// its new state, or not at all. That is no error.
//
// # Unknown is not zero
//
// A queue that does not know a number reports it as unknown: see [Count] and [Age].
// What a queue cannot do is an [*UnsupportedError] with the reason, and errors.Is
// finds [core.ErrUnsupported] on it.
//
// # Payloads
//
// Nothing here prints, logs or encodes a payload or the value of a header.
// [Job.Payload] returns the payload.
package inspect

import (
	"context"
	"errors"
	"iter"

	"github.com/goairlock/airlock/core"
)

// Inspector is a Viewer and a Controller. Each method is safe for concurrent use.
type Inspector interface {
	Viewer
	Controller
}

// Viewer looks at queues and changes nothing.
//
// Queues are named as in core.Queue. "" is the default queue, which is called
// "default". A queue of other programs has its native name. The errors of all methods are: [core.ErrInvalid] for bad input, a nil
// context and an inspector that its constructor did not make; [core.ErrUnavailable]
// if the backend cannot be reached; the context's error; and the backend's own.
type Viewer interface {
	// Queues returns the names of the queues that the backend knows, sorted. It is
	// empty if there are none.
	Queues(ctx context.Context) ([]string, error)

	// Depth counts the jobs of a queue. A queue that the backend does not know is
	// ErrNotFound.
	Depth(ctx context.Context, queue string) (Depth, error)

	// List returns one page of the jobs of a queue in one state, mostly the oldest
	// first. It never loads more than a page. A job that cannot be read is in the
	// list, with Job.Unreadable set. A queue that the backend does not know is
	// ErrNotFound.
	List(ctx context.Context, q Query) (Page, error)

	// Get returns a job. If there is none, the error is ErrNotFound.
	Get(ctx context.Context, queue, id string) (Job, error)
}

// Controller acts on jobs. The errors are those of a [Viewer] and the following. If
// an error is none of the documented ones, the backend may have done what was asked.
type Controller interface {
	// Retry makes a job run as soon as a worker is free. The job keeps its ID,
	// payload, headers and limits. A dead job gets all of its attempts again: the
	// next run is attempt 1. A delayed or parked job loses its delay and keeps the
	// attempts that it has used. Nothing happens to a job that is waiting already.
	//
	// The errors are ErrNotFound, ErrRunning, ErrDone, ErrUnreadable, and
	// core.ErrDuplicate if the job has a unique key that another unfinished job
	// holds by now. The job is not changed then.
	Retry(ctx context.Context, queue, id string) error

	// RetryAll retries dead jobs of a queue, the oldest first. A job that dies again
	// meanwhile is not retried a second time, as far as the backend can say. If there
	// is an error the result has what was done before.
	RetryAll(ctx context.Context, s Selection) (Result, error)

	// Discard removes a job that is not running, with its payload. It cannot be
	// undone. A unique key becomes free. The errors are ErrNotFound and ErrRunning.
	Discard(ctx context.Context, queue, id string) error

	// Pause keeps the workers of a queue from starting further jobs, until Resume.
	// Jobs that are running go on. Pausing a queue twice is no error.
	Pause(ctx context.Context, queue string) error

	// Resume ends a pause. It is no error if there was none.
	Resume(ctx context.Context, queue string) error
}

// Errors of inspectors. Callers use errors.Is.
var (
	// ErrNotFound says that the backend knows no such queue, or no such job.
	ErrNotFound = errors.New("not found")

	// ErrRunning says that a job is running, and can neither be retried nor
	// discarded until it ends.
	ErrRunning = errors.New("the job is running")

	// ErrDone says that a job has succeeded, and cannot be retried.
	ErrDone = errors.New("the job is done")

	// ErrUnreadable says that a stored message is no job, or that its envelope cannot
	// be read, so that a retry could not keep what it says. It can be discarded. An
	// envelope of a later version is retried by an inspector of that version.
	ErrUnreadable = errors.New("the job cannot be read")
)

// UnsupportedError says what a queue cannot do, and why. errors.Is finds
// [core.ErrUnsupported] on it.
type UnsupportedError struct {
	Executor string // the name of the queue's executor, such as "pool"
	Action   string // such as "pause"
	Reason   string // for humans
}

func (e *UnsupportedError) Error() string {
	return "airlock: " + e.Executor + ": cannot " + e.Action + ": " + e.Reason
}

// Is reports that an UnsupportedError is a core.ErrUnsupported.
func (e *UnsupportedError) Is(target error) bool { return target == core.ErrUnsupported }

// All yields the jobs that q selects, page by page, until there are no more or there
// is an error. The error comes with a zero Job and is the last one. A job that moves
// meanwhile may come twice or not at all.
func All(ctx context.Context, v Viewer, q Query) iter.Seq2[Job, error] {
	return func(yield func(Job, error) bool) {
		for {
			page, err := v.List(ctx, q)
			if err != nil {
				yield(Job{}, err)
				return
			}
			for _, job := range page.Jobs {
				if !yield(job, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			q.Cursor = page.Next
		}
	}
}
