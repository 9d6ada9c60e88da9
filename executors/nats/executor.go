// Package natsexec runs jobs on NATS JetStream: a stream of the work queue kind,
// one subject per queue and task, one consumer per queue.
//
// JetStream is a stream and not a job queue. What a job queue has and a stream
// lacks (delays, attempts, dead letters, unique keys) is this package's work:
// the dispatching half with the headers of nats-server 2.12 and later, the
// working half, [Worker], with the rest.
//
// # Mapping
//
// A stream named JOBS has these subjects; <task> is the task's name with its
// dots, so that email.receipt is two tokens.
//
//	JOBS.job.<queue>.<task>            a job
//	JOBS.high.<queue>.<task>           a job of priority 8 to 10, with Options.Lanes
//	JOBS.low.<queue>.<task>            a job of priority 1 to 3, with Options.Lanes
//	JOBS.job.<queue>.<task>.=<hash>    a job with a unique key; with lanes alike
//	JOBS.at.<queue>.<task>.~<hash>     a job that waits for its time; unique: .=<hash>
//	JOBS.dead.<queue>.<task>           a job that failed for good
//
// The payload is the encoded arguments and nothing else. Headers:
//
//	Queue        the subject, "default" without it; one consumer of the same name
//	Priority     refused without Options.Lanes; three lanes with it
//	Delay, At    Nats-Schedule with nanoseconds, on a subject of the job's own.
//	             Never early; late by the server's timer, mostly under 0.3 s
//	MaxAttempts  Airlock-Envelope; 25 without it
//	Backoff      Airlock-Envelope; Options.Backoff without it
//	Timeout      Airlock-Envelope
//	Deadline     Airlock-Envelope
//	ID           Nats-Msg-Id, always, chosen or not
//	Unique       Nats-Expected-Last-Subject-Sequence 0 over every subject that
//	             can hold the key: native, until the job is done or dead
//	Header       a header of the same name; in Airlock-Envelope where NATS would
//	             change it or take it for its own (Nats-…, Status, Description,
//	             blanks at the ends)
//
// A consumer of any other kind finds the arguments in the payload and its task
// in the subject, and whoever publishes to such a subject feeds our workers.
//
// # Delivery
//
// At least once. A job runs a second time where its acknowledgement was lost:
// the worker died, or the connection did while it acknowledged. A delivery that
// nobody answered counts as an attempt, since the job may have run.
//
// The ID is remembered for the stream's duplicate window from the moment of
// dispatch, whatever the lane, also after the job is done. JetStream forgets the
// IDs of acknowledged jobs when the server restarts, or on several replicas when
// all of them have been restarted or the leader dies after its followers were.
// Schedules forget nothing: a job that still waits is known by its subject.
//
// # Errors
//
// Each intent's acknowledgement is awaited for Options.AckTimeout, past which it
// is Unknown. Without a connection a call waits as long for one, and is then
// NotSent with [core.ErrUnavailable], having handed nothing to the client. What
// the client holds back while it reconnects is sent later, so an intent
// published in that moment is Unknown. On several replicas an ID or a unique key
// may be just being stored: the message is sent again until that is decided, and
// past the limit the intent is NotSent, or Unknown if what is being stored may be
// itself. JetStream's own errors are reachable with errors.As as
// *jetstream.APIError.
//
// # Concurrency
//
// An [Executor] keeps no goroutines. Its calls run side by side on one connection.
// A [Worker] owns its goroutines and [Worker.Run] waits for them.
//
// # Refused
//
// Priority without lanes, Delay on a stream without schedules, and every native
// option: JetStream has none that a job could ask for without being lost.
package natsexec

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/core"
)

const name = "nats"

// The defaults of [Options].
const (
	defaultAckTimeout  = 5 * time.Second
	defaultAckWait     = 30 * time.Second
	defaultDrain       = 30 * time.Second
	defaultPark        = time.Minute
	defaultConcurrency = 10
	defaultAttempts    = 25
)

// Options tune an [Executor] and a [Worker]. The zero value works. Give both
// the same, at least for Lanes.
type Options struct {
	// Lanes lets intents have a Priority, by three lanes: 8 to 10, 4 to 7 and
	// unset, 1 to 3. Where jobs wait in all of them they start at a ratio of
	// 6 to 3 to 1. A worker without Lanes serves the middle one alone.
	Lanes bool

	// AckTimeout is how long each intent's acknowledgement is awaited. 0 means
	// 5 seconds.
	AckTimeout time.Duration

	// Atomic stores all intents of a call or none, by JetStream's atomic batch:
	// at most 1000 a call, on a stream that allows it, as EnsureStream makes it.
	Atomic bool

	// Queues are what a worker serves. None, and "", mean the queue of intents
	// without one, default.
	Queues []string

	// Concurrency is how many jobs a worker runs at a time. No more are ever
	// fetched. 0 means 10.
	Concurrency int

	// AckWait is after how long without a sign of its worker a job is given to
	// another one; workers give a sign three times as often. It holds for
	// consumers that the worker creates, one that exists keeps its own. 0 means
	// 30 seconds; at least 1 second.
	AckWait time.Duration

	// Backoff holds between the attempts of jobs that bring none. The zero value
	// means 1 second, doubled up to 10 minutes.
	Backoff core.BackoffPolicy

	// DrainTimeout is how long Run lets jobs go on once its context has ended,
	// before it ends theirs. 0 means 30 seconds.
	DrainTimeout time.Duration

	// ParkFor is for how long a job whose task the worker does not know is put
	// off, so that a worker that knows it can get it. 0 means 1 minute.
	ParkFor time.Duration

	// Logger is told what a worker cannot return: jobs that died or were parked,
	// and acknowledgements that got lost. Nil means slog.Default().
	Logger *slog.Logger
}

func (o *Options) orDefaults() (Options, error) {
	var opts Options
	if o != nil {
		opts = *o
	}
	for _, d := range []struct {
		name  string
		value *time.Duration
		unset time.Duration
	}{
		{"AckTimeout", &opts.AckTimeout, defaultAckTimeout},
		{"AckWait", &opts.AckWait, defaultAckWait},
		{"DrainTimeout", &opts.DrainTimeout, defaultDrain},
		{"ParkFor", &opts.ParkFor, defaultPark},
	} {
		if *d.value < 0 {
			return opts, invalidf("Options.%s of %v", d.name, *d.value)
		}
		if *d.value == 0 {
			*d.value = d.unset
		}
	}
	switch {
	case opts.AckWait < time.Second:
		return opts, invalidf("Options.AckWait of %v, want at least 1s", opts.AckWait)
	case opts.Concurrency < 0:
		return opts, invalidf("Options.Concurrency of %d", opts.Concurrency)
	case opts.Concurrency == 0:
		opts.Concurrency = defaultConcurrency
	}
	if opts.Backoff.IsZero() {
		opts.Backoff = core.Exponential(time.Second, 10*time.Minute)
	}
	if opts.Backoff.First <= 0 || opts.Backoff.Max < opts.Backoff.First {
		return opts, invalidf("Options.Backoff from %v to %v", opts.Backoff.First, opts.Backoff.Max)
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	return opts, nil
}

func invalidf(format string, args ...any) error {
	return fmt.Errorf("airlock: nats: %s: %w", fmt.Sprintf(format, args...), core.ErrInvalid)
}

// Executor publishes jobs to one stream. It is made by [New].
type Executor struct {
	conn    *nats.Conn
	api     string // the prefix of JetStream's own subjects
	stream  string
	opts    Options
	several bool // the stream has replicas
	mapping mapping
	caps    core.Capabilities
	guarded core.Executor
}

// New returns an executor for a stream that exists, see [EnsureStream]. It reads
// the stream once, and what the stream allows is what the executor claims: delay
// with schedules, the duplicate window as the ID's. It creates nothing and
// changes nothing. Nil opts are the zero [Options].
//
// It returns [core.ErrInvalid] for nil arguments, options out of range, and a
// stream that could lose accepted jobs, all reasons at once;
// jetstream.ErrStreamNotFound where there is none; and what reading it returns.
func New(ctx context.Context, js jetstream.JetStream, stream string, opts *Options) (*Executor, error) {
	o, err := opts.orDefaults()
	if err != nil {
		return nil, err
	}
	cfg, err := readStream(ctx, js, stream)
	if err != nil {
		return nil, err
	}
	wrong := misfits(cfg, o.Lanes)
	if o.Atomic && !cfg.AllowAtomicPublish {
		wrong = append(wrong, errors.New("Options.Atomic: the stream does not allow atomic batches (allow_atomic)"))
	}
	if len(wrong) > 0 {
		return nil, misfitError(stream, wrong)
	}
	e := &Executor{
		conn: js.Conn(), api: apiPrefix(js), stream: stream, opts: o, several: cfg.Replicas > 1,
		mapping: mapping{stream: stream, lanes: o.Lanes},
	}
	e.caps = capabilities(cfg, o, &e.mapping, largestMessage(e.conn, cfg))
	e.guarded = core.Guard(e.caps, e.dispatch)
	return e, nil
}

// Execute publishes the intents in order, all before the first acknowledgement
// is awaited, and returns when every one is acknowledged or past its limit. It
// is a [core.Executor].
func (e *Executor) Execute(ctx context.Context, intents ...core.Intent) error {
	return e.guarded(ctx, intents...)
}

// Capabilities returns what the executor does with each option on this stream.
func (e *Executor) Capabilities() core.Capabilities { return e.caps }
