package conformance

import (
	"context"
	"time"

	"github.com/goairlock/airlock/conformance/faultproxy"
	"github.com/goairlock/airlock/core"
)

// T is what a [Harness] is given to talk to the suite; *testing.T has it too.
type T interface {
	// Context ends when the check does, before its cleanups run.
	Context() context.Context
	// Cleanup runs f after the check, the last one given first.
	Cleanup(f func())
	// Logf adds a line to the check's result.
	Logf(format string, args ...any)
	// Fatalf ends the check: the harness is broken, not the executor. It must be
	// called on the goroutine that called the harness.
	Fatalf(format string, args ...any)
}

// Harness says how to make the system under test and what can be done to it. It
// is a struct of functions: what is nil cannot be done here, and the checks
// that need it say so with the verdict [NotRun] and never pass.
type Harness struct {
	// Subject is copied into the report.
	Subject Subject

	// New makes a system. Whatever it starts it stops in t.Cleanup, also after
	// Stop or Kill were called. It is called from several goroutines. Required.
	New func(t T, s Setup) System

	// Restart stops and starts what all systems are behind: the backend, as it is
	// configured, with its data. Nil: what survives is not tested.
	Restart func(ctx context.Context) error

	// InBubble says that the system needs no network and no other process and
	// that all its goroutines block on channels, timers and conditions alone.
	// Where the caller has a *testing.T the checks then run in bubbles of
	// testing/synctest, where waiting costs no time.
	InBubble bool

	// Serial says that two systems cannot be used at the same time. Else checks
	// run in parallel.
	Serial bool

	// Scale multiplies every time limit of the suite, for slow systems; 0 is 1.
	Scale float64

	// Settle is how long the suite listens before it believes in silence; 0 is
	// one second. It is multiplied by Scale.
	Settle time.Duration

	// RetryWithin bounds the wait before a failed job without a backoff of its
	// own runs again; 0 is 5 seconds.
	RetryWithin time.Duration

	// Skew is how far the backend's clock may be from ours; 0 where they are the
	// same clock. A start is early only by more than this.
	Skew time.Duration

	// RewritesJSON says that payloads come back as equal JSON, not as equal
	// bytes: a jsonb column. The report shows it.
	RewritesJSON bool

	// RefusesJSON says that JSON which the backend would alter beyond that, such as
	// numbers of many digits, is refused as ErrInvalid. The report shows it.
	RefusesJSON bool

	// RecoversWithin bounds the time after which a job is run again whose worker
	// was killed; 0 is 5 seconds.
	RecoversWithin time.Duration

	// Native are the hooks for the checks with a producer or a consumer that
	// knows nothing of airlock. Nil: those are not run.
	Native *Native

	// Lease is how long a worker may be silent before its job is given to another
	// one; 0 if it never is, or if that is not known.
	Lease time.Duration

	// Golden are messages as earlier releases stored them. None: not run.
	Golden []Golden

	// Waivers turn a failure into the verdict [Waived], until they expire.
	Waivers []Waiver

	times int // the Choice's Effort
}

// Subject is who is tested.
type Subject struct {
	// Name names the report's files: a-z, 0-9 and -, the executor first, then
	// what is special about the set-up: "river", "river-sqlite".
	Name     string            `json:"name,omitempty"`
	Module   string            `json:"module,omitempty"`
	Version  string            `json:"version,omitempty"`
	URL      string            `json:"url,omitempty"`
	Contact  []string          `json:"contact,omitempty"`
	Backend  string            `json:"backend,omitempty"`
	Settings map[string]string `json:"settings,omitempty"`
}

// Setup is what a check wants of a system.
type Setup struct {
	// Namespace is a name of a-z and 0-9, at most 20 bytes. Systems of one
	// namespace share what is stored, systems of two never see each other. A
	// system whose jobs live in its own memory ignores it.
	Namespace string
	// Registry is what the worker runs. It is never nil.
	Registry *core.Registry
	// Slots is how many jobs the worker runs at a time; 0 if it does not matter.
	Slots int
	// Queues are what the worker serves; none for the default queue alone.
	Queues []string
	// Paused asks for a worker that does not run before System.Start is called.
	// A system that cannot do this leaves Start nil.
	Paused bool
	// Faults asks for a System.Proxy and a System.WorkerProxy.
	Faults bool
	// Room asks for a pool or backend that holds no more than about so many waiting jobs,
	// where it can be bounded; 0 if it does not matter.
	Room int
}

// System is one executor and, unless the executor runs jobs itself, one worker.
type System struct {
	// Exec is the executor under test. Required.
	Exec core.Executor
	// Caps is what it declares.
	Caps core.Capabilities
	// Bare is the executor without core.Guard or other layers around it, if it
	// can be had. Nil: Exec is used.
	Bare core.Executor
	// Inline says that the executor runs jobs to their end before it returns.
	Inline bool
	// Start starts the worker that Setup.Paused held back. ctx bounds the start, not
	// the worker.
	Start func(ctx context.Context) error
	// Stop stops executor and worker: running jobs may end until ctx is done. Then
	// their contexts are cancelled and Stop returns. A pool in this process
	// runs what it has accepted before, as nobody else will. More calls are harmless.
	Stop func(ctx context.Context) error
	// StopAccepting says that Stop closes the executor too, so that it answers
	// with core.ErrClosed. False where it is but a client that the caller closes.
	StopAccepting bool
	// Kill ends the worker as a crash would: nothing is finished or handed back.
	Kill func() error
	// Proxy is between the executor and its backend, and WorkerProxy between the
	// worker and its backend, where Setup.Faults asked for them. Each is of this
	// system alone, and they are two. Nil: the checks that break this connection
	// are not run. The other functions go round them.
	Proxy, WorkerProxy *faultproxy.Proxy
	// Slots is how many jobs the worker really runs at a time; 0 if unknown.
	Slots int
	// Stored lists what is stored in the namespace.
	Stored func(ctx context.Context) ([]Record, error)
	// Corrupt stores a job of the task whose message cannot be understood. A worker
	// must neither call a handler for it nor stumble over it, and must not keep it
	// waiting or running for ever.
	Corrupt func(ctx context.Context, task string) error
}

// Record is a job as it is stored.
type Record struct {
	ID    string
	Task  string
	State RecordState
}

// RecordState says where a stored job stands.
type RecordState string

// The states of a [Record].
const (
	Waiting  RecordState = "waiting"  // to be run, now or later
	Running  RecordState = "running"  // a worker has it
	Finished RecordState = "finished" // done; only its record is kept
	Buried   RecordState = "buried"   // failed for good or not understood: kept for people
)

// Native are a producer and a consumer of the backend's own library.
type Native struct {
	// Produce stores a job for the worker of the namespace, without our envelope.
	Produce func(ctx context.Context, namespace, task string, payload []byte) error
	// Consume takes one job out of the namespace the way a worker without
	// airlock does, and returns its task and its arguments.
	Consume func(ctx context.Context, namespace string) (task string, payload []byte, err error)
}

// Golden is a message as an earlier release stored it.
type Golden struct {
	Name string
	// Put stores the message in the namespace. The job's task is
	// conformance.golden; ID, headers and payload must come out as given here.
	Put     func(ctx context.Context, namespace string) error
	ID      string
	Payload []byte
	Headers map[string]string
}

// Waiver excuses a check that fails for a reason that is known and not ours to
// mend. It needs all of its fields.
type Waiver struct {
	Check   string    `json:"check"`  // "P05" or "P05/timeout"
	Reason  string    `json:"reason"` // why it fails
	Owner   string    `json:"owner"`  // who watches it
	Issue   string    `json:"issue"`  // where it is told
	Expires time.Time `json:"expires"`
}
