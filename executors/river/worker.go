package riverexec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/goairlock/airlock/core"
)

// AddWorkers adds a worker for each task of the registry, beside the workers
// that are there. A task that has a worker already is [core.ErrInvalid], and
// so is a nil argument; the bundle may then hold some of the tasks. The
// registry's tasks are read once; its middleware may still be added later.
//
// The workers take the jobs of an [Executor] and those that River's own client
// inserted. A handler's [core.Permanent] cancels the job, [core.Snooze] costs no
// attempt, and neither does an interruption by Config.SoftStopTimeout or
// StopAndCancel. A panic is a failed attempt with its stack in the attempt's
// error; Config.ErrorHandler sees it as an error. Handlers may use
// river.ClientFromContext.
//
// A job that carries our metadata has the limits it was dispatched with and no
// others: without a Timeout it may run as long as it likes.
func AddWorkers(workers *river.Workers, registry *core.Registry) error {
	switch {
	case workers == nil:
		return fmt.Errorf("airlock: river: nil workers: %w", core.ErrInvalid)
	case registry == nil:
		return fmt.Errorf("airlock: river: nil registry: %w", core.ErrInvalid)
	}
	w := &worker{registry: registry}
	for _, task := range registry.Tasks() {
		if err := add(workers, w, task); err != nil {
			return err
		}
	}
	return nil
}

// add registers the worker for a task. AddWorkerSafely cannot: it asks a zero
// value for the kind, and ours is known at run time only.
func add(workers *river.Workers, w *worker, task string) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("airlock: river: task %s: %v: %w", task, v, core.ErrInvalid)
		}
	}()
	river.AddWorkerArgs(workers, arguments{task}, w)
	return nil
}

// arguments stand for the arguments of any job: Perform decodes them.
type arguments struct{ kind string }

func (a arguments) Kind() string                { return a.kind }
func (a *arguments) UnmarshalJSON([]byte) error { return nil }

// worker works the jobs of every task of a registry.
type worker struct {
	registry *core.Registry
	running  sync.Map // *rivertype.JobRow → *envelope, while a job runs here
}

// envelope is what the metadata say of a job.
type envelope struct {
	core.Envelope
	ours    bool // a job of an Executor
	wrapped bool
	err     error // why it cannot be read
}

func readEnvelope(row *rivertype.JobRow) *envelope {
	var meta struct {
		Airlock json.RawMessage `json:"airlock"`
		Wrap    string          `json:"airlock_wrap"`
	}
	e := new(envelope)
	if err := json.Unmarshal(row.Metadata, &meta); err != nil || meta.Airlock == nil {
		return e // somebody else's
	}
	e.ours, e.wrapped = true, meta.Wrap != ""
	if e.Envelope, e.err = core.DecodeEnvelope(meta.Airlock); e.err == nil && e.wrapped && meta.Wrap != wrapBase64 {
		e.err = fmt.Errorf("airlock: river: payload wrapped in an unknown way: %w", core.ErrInvalid)
	}
	return e
}

// Middleware is called for jobs that are about to run, and so tells them from
// those that the rescuer asks about.
func (w *worker) Middleware(*rivertype.JobRow) []rivertype.WorkerMiddleware {
	return []rivertype.WorkerMiddleware{river.WorkerMiddlewareFunc(
		func(ctx context.Context, row *rivertype.JobRow, next func(context.Context) error) error {
			w.running.Store(row, readEnvelope(row))
			defer w.running.Delete(row)
			return next(ctx)
		})}
}

// Timeout is asked by River before it runs a job, and by its rescuer, which
// leaves a job alone that has not run for so long: one without a limit for
// ever, though its worker crashed. So only the former is told that there is
// no limit. Perform ends an attempt on time; River's own limit, a little later,
// is there for its watch over stuck jobs.
func (w *worker) Timeout(j *river.Job[arguments]) time.Duration {
	const none = -1
	if e, ok := w.running.Load(j.JobRow); ok {
		switch e := e.(*envelope); {
		case !e.ours:
			return 0 // the client's
		case e.Timeout > 0:
			return e.Timeout + time.Second
		}
		return none
	}
	switch e := readEnvelope(j.JobRow); {
	case !e.ours:
		return 0
	case e.Timeout > 0:
		return e.Timeout
	}
	return time.Nanosecond // the rescuer's own patience is over already
}

// NextRetry is asked after a failed attempt.
func (w *worker) NextRetry(j *river.Job[arguments]) time.Time {
	e := readEnvelope(j.JobRow)
	if e.Backoff.IsZero() {
		return time.Time{} // the client's
	}
	return ceil(time.Now().Add(e.Backoff.Wait(max(j.Attempt, 1))))
}

// Work runs the job.
func (w *worker) Work(ctx context.Context, j *river.Job[arguments]) error {
	e, payload := w.open(j.JobRow)
	if e.err != nil {
		return e.err // of a later release, perhaps: its workers may know better
	}
	id := e.ID
	if id == "" {
		id = strconv.FormatInt(j.ID, 10)
	}
	v := w.registry.Perform(ctx, core.Delivery{
		ID: id, Task: j.Kind, Queue: j.Queue, Payload: payload, Headers: e.Headers,
		Attempt: j.Attempt, MaxAttempts: j.MaxAttempts, Backoff: e.Backoff, Timeout: e.Timeout, Deadline: e.Deadline,
	})
	return answer(ctx, j.JobRow, v)
}

// open returns what the middleware read, and the payload.
func (w *worker) open(row *rivertype.JobRow) (*envelope, []byte) {
	e, _ := w.running.Load(row)
	env, ok := e.(*envelope)
	if !ok { // called by a test, without middleware
		env = readEnvelope(row)
	}
	if !env.wrapped || env.err != nil {
		return env, row.EncodedArgs
	}
	var payload []byte // encoding/json reads base64 into it
	if err := json.Unmarshal(row.EncodedArgs, &payload); err != nil {
		broken := *env
		broken.err = fmt.Errorf("airlock: river: task %s: wrapped payload is malformed: %w", row.Kind, core.ErrInvalid)
		return &broken, nil
	}
	return env, payload
}

// answer turns a verdict into the error that tells River the same.
func answer(ctx context.Context, row *rivertype.JobRow, v core.Verdict) error {
	switch v.Action {
	case core.Done:
		return nil
	case core.Snoozed:
		return river.JobSnooze(v.After.Truncate(time.Millisecond) + time.Millisecond)
	}
	final := core.IsPermanent(v.Err) || v.Unhandled()
	if ctx.Err() == context.Canceled && !final {
		// The client stops. River gives the attempt back to a job whose error says
		// so, and a handler's own error may not.
		if errors.Is(v.Err, context.Canceled) {
			return v.Err
		}
		return fmt.Errorf("%w: %w", context.Canceled, v.Err)
	}
	err := v.Err
	var p *core.PanicError
	if errors.As(err, &p) {
		err = &panicked{err, p.Stack}
	}
	if v.Action == core.Dead && (final || row.Attempt < row.MaxAttempts) {
		return river.JobCancel(err)
	}
	return err // the last attempt is discarded by River itself
}

// panicked is an error that shows the stack, for the record of the attempt.
type panicked struct {
	error
	stack []byte
}

func (p *panicked) Error() string { return p.error.Error() + "\n\n" + string(p.stack) }
func (p *panicked) Unwrap() error { return p.error }
