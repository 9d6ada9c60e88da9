// Package natsexec runs jobs on NATS JetStream: a stream with work queue retention,
// one subject per queue and task, one consumer per queue.
//
// JetStream is a stream and not a job queue. What a job queue has and a stream
// lacks (delays, attempts, dead jobs, unique keys) is this package's work. The
// executor does it with the headers of nats-server 2.12 and later, the [Worker]
// with the rest.
//
// # Mapping
//
// A stream named JOBS has these subjects. <task> is the task's name with its dots,
// so email.receipt is two tokens.
//
//	JOBS.job.<queue>.<task>            a job
//	JOBS.high.<queue>.<task>           a job of priority 8 to 10, with Options.Lanes
//	JOBS.low.<queue>.<task>            a job of priority 1 to 3, with Options.Lanes
//	JOBS.job.<queue>.<task>.=<hash>    a job with a unique key; the same in the other lanes
//	JOBS.at.<queue>.<task>.~<hash>     a job that waits for its time; unique: .=<hash>
//	JOBS.dead.<queue>.<task>           a job that failed for good
//	JOBS.claim.<queue>.1               no job: a mark of a worker, there for a moment
//
// The payload is the encoded arguments and nothing else. Headers:
//
//	Queue        the subject, "default" without it; a consumer of the same name.
//	             Options.QueueNames has the names that differ natively
//	Priority     refused without Options.Lanes; three lanes with it
//	Delay, At    Nats-Schedule with nanoseconds, on a subject of the job's own.
//	             Never early; late by the server's timer, mostly under 0.3 s
//	MaxAttempts  Airlock-Envelope, also the default of 25
//	Backoff      Airlock-Envelope; WorkerOptions.Backoff without it. A retry that
//	             waits while the server restarts may be up to a second early: the
//	             server stores such times in seconds (nats-server v2.15.2,
//	             server/store.go, encodeConsumerState)
//	Timeout      Airlock-Envelope
//	Deadline     Airlock-Envelope
//	ID           Nats-Msg-Id, always, chosen or not
//	Unique       Nats-Expected-Last-Subject-Sequence 0 over every subject that can
//	             hold the key: native, until the job is done or dead
//	Header       a header of the same name; in Airlock-Envelope where NATS would
//	             change it or use it for itself (Nats-…, Status, Description,
//	             blanks at the ends)
//
// Other consumers find the arguments in the payload and the task in the subject.
// Other programs that publish to such a subject feed our workers. A handler finds the
// message in [worker.Job].Native, as a *nats.Msg. It must not acknowledge it: the
// worker does.
//
// # Delivery
//
// At least once. A job runs a second time if its acknowledgement was lost: the
// worker died, or lost its connection for longer than the consumer's ack_wait. A
// delivery that nobody answered counts as an attempt, since the job may have run.
//
// A worker that lost its job to another one, because it was frozen for longer than
// ack_wait, decides nothing about it any more: it looks at its lease. If it is frozen
// just after that look, what it publishes is refused, because the new owner has claimed
// the message ID of that copy. This needs the subject JOBS.claim.> and rollups, as
// [EnsureStream] makes them, and holds for the duplicate window. Two cases are left. A
// retry after at most ack_wait is no copy but a delay of the same message: it can begin
// the job once more while the new owner runs it, but not after that is done. And a
// server that was restarted, or a worker frozen for longer than the duplicate window,
// has forgotten the claim: the job may then run again after it was done.
//
// The ID is remembered for the stream's duplicate window from the moment of
// dispatch, in every queue and lane, also after the job is done. JetStream forgets
// the IDs of acknowledged jobs when the server restarts; with several replicas when
// all of them have restarted, or when the leader dies after its followers were
// restarted. A job that still waits for its time is never forgotten: its subject is
// its ID.
//
// # Dead jobs
//
// A dead job is kept on JOBS.dead.<queue>.<task> until an operator removes it. It
// has its payload and headers, and in addition the reason in Airlock-Reason, the
// attempts that were used up in Airlock-Attempts and the subject that it came from
// in Airlock-Subject. To run it again, call [Inspector.Retry], which also looks at
// its unique key. With NATS's own tool, publish its payload to that subject with every
// header except Nats-Msg-Id, then delete it:
//
//	nats stream get JOBS --last-for JOBS.dead.mail.email.receipt
//	nats pub --jetstream --no-templates JOBS.job.mail.email.receipt '<payload>' -H 'Airlock-Envelope:<…>' -H …
//	nats stream rmm JOBS <sequence> --force
//
// A worker starts counting attempts anew for a job that has an Airlock-Reason. The
// job keeps its ID, its headers and its options. With its Nats-Msg-Id it would be a
// duplicate of the dead job for the length of the duplicate window, and not be
// stored. A unique key is not looked at on that way.
//
// # Errors
//
// Execute waits for each intent's acknowledgement for Options.AckTimeout. Past that
// the intent is Unknown. Only an acknowledgement of the right stream and domain
// counts. Without a connection a call waits as long for one, and is then NotSent
// with [core.ErrUnavailable], having handed nothing to the client. What the client
// holds back while it reconnects is sent later, so an intent published in that
// moment is Unknown. A user who may not publish to a subject gets NotSent with
// nats.ErrPermissionViolation. A shortage of the server, such as full storage, is
// NotSent with core.ErrUnavailable.
//
// On several replicas an ID or a unique key may be just being stored. The message is
// then sent again until that is decided. Past the limit the intent is NotSent, or
// Unknown if what is being stored may be the intent itself. errors.As finds
// JetStream's own errors as *jetstream.APIError.
//
// # Concurrency
//
// An [Executor] has no goroutines. Its calls share one connection and do not wait for
// each other. One call in ten seconds listens a second longer for the answer of a
// second stream, which would store the same jobs, and logs that at Error. A [Worker]
// waits for its goroutines before [Worker.Run] returns.
//
// # Refused
//
// Priority without lanes, Delay on a stream without schedules, Unique on servers
// older than 2.11, and every native option: JetStream has none that a job could ask
// for without being lost.
package natsexec

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

const name = "nats"

// Executor publishes jobs to one stream. It is made by [New] and is safe for
// concurrent use.
type Executor struct {
	js      jetstream.JetStream
	conn    *nats.Conn
	api     string // the prefix of JetStream's own subjects
	opts    Options
	target  target
	mapping mapping
	largest int // message, in bytes; 0 for no limit
	caps    core.Capabilities
	guarded core.Executor
	doubled atomic.Bool // another stream was seen to store the same jobs

	watching atomic.Int64 // when a call last listened for one, in nanoseconds since 1970
}

// New returns an executor for a stream that exists, see [EnsureStream]. It reads
// the stream once. What the stream and its server allow is what the executor
// claims: delay with schedules, the duplicate window as the ID's. New creates
// nothing and changes nothing. Nil opts are the zero [Options].
//
// It returns [core.ErrInvalid] for nil arguments, options out of range, and a
// stream that could lose accepted jobs or that is not the only one to store them,
// with all reasons; jetstream.ErrStreamNotFound where there is none; and what
// reading it returns.
func New(ctx context.Context, js jetstream.JetStream, stream string, opts *Options) (*Executor, error) {
	o, err := opts.orDefaults()
	if err != nil {
		return nil, err
	}
	queues, err := newQueueNames(o.QueueNames)
	if err != nil {
		return nil, err
	}
	s, err := readStream(ctx, js, stream)
	if err != nil {
		return nil, err
	}
	e := &Executor{
		js: js, conn: js.Conn(), api: apiPrefix(js), opts: o, target: newTarget(s),
		mapping: mapping{stream: stream, lanes: o.Lanes, queues: queues},
	}
	wrong := misfits(s.Config, o.Lanes)
	if o.Atomic && !s.Config.AllowAtomicPublish {
		wrong = append(wrong, errors.New("Options.Atomic: the stream does not allow atomic batches (allow_atomic)"))
	}
	if other := e.localStream(ctx, s); other != "" {
		wrong = append(wrong, fmt.Errorf("%s stores the same jobs", other))
	}
	if len(wrong) > 0 {
		return nil, misfitError(stream, wrong)
	}
	e.largest = largestMessage(e.conn, s.Config)
	e.caps = capabilities(s, o, &e.mapping, e.largest)
	e.guarded = adapter.Guard(e.caps, e.dispatch)
	return e, nil
}

// Execute publishes the intents in order, all before it waits for the first
// acknowledgement. It returns when every one is acknowledged or past its limit. It
// is a [core.Executor]. A nil or zero Executor refuses every call with
// [core.ErrInvalid].
func (e *Executor) Execute(ctx context.Context, intents ...core.Intent) error {
	if e == nil || e.guarded == nil {
		return zeroExecutor(ctx, intents...)
	}
	return e.guarded(ctx, intents...)
}

var (
	errZeroExecutor = invalidf("zero Executor: executors are made by New")
	zeroExecutor    = adapter.Invalid(errZeroExecutor)
)

// Capabilities returns what the executor does with each option on this stream. The
// result belongs to the caller.
func (e *Executor) Capabilities() core.Capabilities {
	if e == nil {
		return core.Capabilities{}
	}
	return e.caps.Clone()
}
