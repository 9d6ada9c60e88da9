package conformance

import (
	"context"
	"log/slog"
	"time"

	"github.com/goairlock/airlock/conformance/faultproxy"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/inspect"
	"github.com/goairlock/airlock/worker"
)

// T is what a [Harness] gets from the suite. *testing.T has these methods too.
type T interface {
	// Context ends when the check does, before its cleanups run.
	Context() context.Context
	// Cleanup runs f after the check. The function that was given last runs first.
	Cleanup(f func())
	// Logf adds a line to the check's result.
	Logf(format string, args ...any)
	// Fatalf ends the check, since the harness is broken and not the executor. It
	// must be called on the goroutine that called the harness.
	Fatalf(format string, args ...any)
}

// Harness says how to make the system under test and what can be done to it. It is a
// struct of functions and numbers. Only New is required. A function that is nil
// cannot be called here: the checks that need it have the verdict [NotRun], and
// never pass.
type Harness struct {
	// Subject is copied into the report.
	Subject Subject

	// New makes a system. Everything that it starts and opens it stops and closes in
	// t.Cleanup, also if Stop or Kill was called before. A goroutine that is still
	// there afterwards is a failure. New is called from several goroutines.
	New func(t T, s Setup) System

	// Restart restarts the backend that all systems share, with its configuration and
	// its data. Nil: it is not tested what survives a restart.
	Restart func(ctx context.Context) error

	// InBubble says that the system needs no network and no other process, and that
	// its goroutines block only on channels, timers and conditions. If the caller has
	// a *testing.T, the checks then run in bubbles of testing/synctest, where waiting
	// takes no time.
	InBubble bool

	// Serial says that two systems cannot be used at the same time. Otherwise checks
	// run in parallel.
	Serial bool

	// Scale multiplies every time limit of the suite, for slow systems. 0 is 1. A
	// correct system does not use up these limits, except for Settle.
	Scale float64

	// Settle is how long nothing must happen before the suite believes that nothing
	// will. 0 is one second. It is multiplied by Scale.
	Settle time.Duration

	// RetryWithin limits the time until a failed job without a backoff runs again. 0
	// is 5 seconds.
	RetryWithin time.Duration

	// Skew is by how much the backend's clock may differ from ours, 0 if it is the
	// same clock. A start is early only if it is early by more than Skew.
	Skew time.Duration

	// RestartSkew is by how much a retry may in addition be early if the backend was
	// restarted meanwhile: some backends store times in whole seconds.
	RestartSkew time.Duration

	// RewritesJSON says that payloads come back as equal JSON, and not as the same
	// bytes, as from a jsonb column. The report shows it.
	RewritesJSON bool

	// RefusesJSON says that JSON is refused as ErrInvalid if the backend would change
	// more than its form, such as numbers with many digits. The report shows it.
	RefusesJSON bool

	// RecoversWithin limits the time until the job of a killed worker runs again. 0 is
	// 5 seconds.
	RecoversWithin time.Duration

	// ParksFor is how long a worker keeps a job whose task no handler knows before it
	// tries again. 0 is 5 seconds. Set the worker's ParkFor to less than a second, and
	// this to a little more.
	ParksFor time.Duration

	// Native are functions for the checks with a producer or a consumer that does not
	// use airlock. Nil: these checks are not run.
	Native *Native

	// Lease is how long a worker may be silent before its job is given to another
	// one. 0: never, or unknown.
	Lease time.Duration

	// Golden are messages as earlier releases stored them. None: not run.
	Golden []Golden

	// Shared names functions whose goroutines belong to something that the systems
	// share, and that may be started while a check runs, such as the pool of a client.
	// It has parts of names as they are in a stack: "pgxpool.(*Pool)". These goroutines
	// do not count as left behind. The report shows it.
	Shared []string

	// Inspects says that the systems have an Inspector. The checks of the level Inspect
	// are then run too.
	Inspects bool

	// Lacks says why something is missing here, by its name: "Lease", "Native.Produce",
	// "System.Proxy". The reason is added to the results of the checks that need it. Their
	// verdict stays [NotRun]. "Observers" is for a worker that is not ours, which puts jobs of
	// unknown tasks off without a word to the registry: K12 does not ask its observers.
	Lacks map[string]string

	// Waivers turn a failure into the verdict [Waived], until they expire.
	Waivers []Waiver

	times int            // the Choice's Effort
	hangs func(r Result) // keeps the report before the process is ended
}

// Subject says what is tested.
type Subject struct {
	// Name names the report's files. It has the characters a-z, 0-9 and -, first the
	// executor and then what is special about the set-up: "river", "river-sqlite".
	Name     string            `json:"name,omitempty"`
	Module   string            `json:"module,omitempty"`
	Version  string            `json:"version,omitempty"`
	URL      string            `json:"url,omitempty"`
	Contact  []string          `json:"contact,omitempty"`
	Backend  string            `json:"backend,omitempty"`
	Settings map[string]string `json:"settings,omitempty"`
}

// Setup is what a check needs of a system.
type Setup struct {
	// Namespace is a name of a-z and 0-9, at most 20 bytes. Systems of one namespace
	// share what is stored. Systems of two namespaces never see each other's jobs. A
	// system that keeps its jobs in its own memory ignores it.
	Namespace string
	// Registry is what the worker runs. It is never nil.
	Registry *worker.Registry
	// Slots is how many jobs the worker runs at a time. 0: it does not matter.
	Slots int
	// Queues are the portable names of the queues that the worker serves. "" is the
	// default queue, which may be one of several. None: the default queue only.
	Queues []string
	// Paused asks for a worker that does not run before System.Start is called. A
	// system that cannot do this leaves Start nil.
	Paused bool
	// Faults asks for System.Proxy and System.WorkerProxy. See [NewLines].
	Faults bool
	// Room asks for a pool or backend that holds not many more than this number of
	// waiting jobs, if that can be set. 0: it does not matter.
	Room int
	// IDWindow asks for an executor that remembers IDs for so long, if that can be
	// set. 0: it does not matter.
	IDWindow time.Duration
	// NativeNames are for the executor's and the worker's option QueueNames: from
	// portable to native names. Queues has portable names. See System.NativeNames.
	NativeNames map[string]string
	// Logger is for the executor and the worker. The suite looks for payloads and
	// header values in what is logged, at every level. It is never nil.
	Logger *slog.Logger
	// Freezes asks for System.Freeze, and for the shortest lease that can be set.
	Freezes bool
}

// System is one executor and, unless the executor runs jobs itself, one worker.
type System struct {
	// Exec is the executor under test. Required.
	//
	// While its backend is down, an outcome is NotSent with core.ErrUnavailable, or
	// Unknown. Duty 4 of core.Executor permits NotSent only if nothing can have
	// reached the backend. If that is so because the backend is down, the error must
	// say it: callers use errors.Is(err, core.ErrUnavailable) to find out whether the
	// cause is an outage, which ends, or something else, such as ErrClosed.
	//
	// The executor uses a client that New has made and closes. If a client does not
	// come back after a lost connection, the executor may instead take a function
	// that connects. Duty 10 of core.Executor then applies to what that function
	// returns: the executor owns it, and closes it when it is stopped.
	Exec core.Executor
	// Caps is what the executor declares.
	Caps core.Capabilities
	// Bare is the executor without adapter.Guard or other layers around it, if there
	// is such a thing. Nil: Exec is used.
	Bare core.Executor
	// Inline says that the executor runs jobs to their end before it returns.
	Inline bool
	// Start starts the worker that Setup.Paused held back. ctx limits the start, not
	// the worker. If the worker runs already, Start does nothing and returns nil. It is
	// not called after Stop or Kill. See [RunWorker].
	Start func(ctx context.Context) error
	// Stop stops the executor and the worker. Running jobs may finish until ctx is
	// done. Then their contexts end, and Stop returns an error. If the worker has a
	// time limit of its own for this, make it longer than half a second times Scale, so
	// that ctx ends first. A pool in this process first runs the jobs that it has
	// accepted and that are due. More calls do nothing. Connections that New has
	// opened may stay open until the cleanup.
	Stop func(ctx context.Context) error
	// StopAccepting says that Stop closes the executor too, which then returns
	// core.ErrClosed. It is false for an executor that uses a client of the caller.
	StopAccepting bool
	// Kill ends the worker as a crash would: it finishes nothing, hands nothing back,
	// and sends nothing more to the backend. faultproxy.Dialer helps. What has begun
	// counts as an attempt, also if the process ends (F12): a job that kills its worker
	// each time ends with the dead jobs when its attempts are used up.
	Kill func() error
	// Freeze makes the worker stand still, as if its process were stopped: it fetches
	// nothing, keeps no lease, and no answer of a handler reaches the backend. Handlers
	// go on. It returns when this is so. The worker's jobs must be given to another
	// worker within Harness.RecoversWithin; Freeze may end their leases for that. The
	// function that it returns lets the worker go on. Setup.Freezes asks for Freeze.
	// Nil: it is not tested what a worker does that has lost its jobs.
	Freeze func() (thaw func() error, err error)
	// NativeNames says that the executor and the worker use Setup.NativeNames.
	NativeNames bool
	// Proxy is between the executor and its backend, and WorkerProxy between the
	// worker and its backend, if Setup.Faults asks for them. They are two proxies that
	// no other system uses. The other functions of the System and the harness do not
	// go through them. Nil: the checks that break this connection are not run.
	Proxy, WorkerProxy *faultproxy.Proxy
	// Slots is how many jobs the worker really runs at a time. 0: unknown.
	Slots int
	// Inspector looks at the queues of the namespace and acts on their jobs, by the
	// queues' portable names. It stays usable after Stop. Nil: the level Inspect is not
	// run.
	Inspector inspect.Inspector
	// Stored lists the jobs that are stored in the namespace. One that moves meanwhile
	// may be missing, or be there twice: the suite then looks again.
	Stored func(ctx context.Context) ([]Record, error)
	// Corrupt stores a job of the task with a message that cannot be decoded. A worker
	// must not call a handler for it, must run the other jobs, and must not keep it
	// waiting or running forever.
	Corrupt func(ctx context.Context, task string) error
	// Later stores a job of the task with an envelope of a later version than this
	// release knows. A worker must not call a handler for it, and must keep it for a
	// worker that can read it.
	Later func(ctx context.Context, task string) error
}

// Record is a stored job.
type Record struct {
	ID    string
	Task  string
	State RecordState
}

// RecordState is the state of a stored job.
type RecordState string

// The states of a [Record].
const (
	Waiting  RecordState = "waiting"  // it will run, now or later
	Running  RecordState = "running"  // a worker has it
	Finished RecordState = "finished" // it is done, and its record is kept
	Buried   RecordState = "buried"   // it is dead: it failed for good, or cannot be decoded
)

// Native are a producer and a consumer that use the backend's own library.
type Native struct {
	// Produce stores a job for the worker of the namespace, without our envelope.
	Produce func(ctx context.Context, namespace, task string, payload []byte) error
	// Consume takes one job out of the namespace as a worker without airlock does, and
	// returns its task and its arguments.
	Consume func(ctx context.Context, namespace string) (task string, payload []byte, err error)
}

// Golden is a message as an earlier release stored it.
type Golden struct {
	Name string
	// Put stores the message in the namespace. The job's task is conformance.golden.
	// The handler must get this ID and Payload and these Headers.
	Put     func(ctx context.Context, namespace string) error
	ID      string
	Payload []byte
	Headers map[string]string
}

// Waiver excuses a check that fails for a known reason that cannot be fixed here.
// All fields are required.
type Waiver struct {
	Check   string    `json:"check"`  // "P05" or "P05/timeout"
	Reason  string    `json:"reason"` // why it fails
	Owner   string    `json:"owner"`  // who watches it
	Issue   string    `json:"issue"`  // the address of the report
	Expires time.Time `json:"expires"`
}

// QueueNames returns the queues that the worker serves, with the name of the default
// queue in the place of "". It is nil where the worker serves the default queue alone.
func (s Setup) QueueNames(defaultQueue string) []string {
	var names []string
	for _, q := range s.Queues {
		if q == "" {
			q = defaultQueue
		}
		names = append(names, q)
	}
	return names
}
