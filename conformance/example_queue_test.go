package conformance_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

// Package folderexec stores jobs as files, one folder for each queue. It is the
// smallest queue whose jobs survive a crash of their worker, and the example of
// docs/write-an-executor.md. This file has the executor, and
// example_worker_test.go the worker.
//
// # Mapping
//
//	Queue        the folder; "default" without it. See folderOptions.QueueNames
//	Delay, At    in the file's name
//	MaxAttempts  in the envelope; 25 without it. The file's name counts the runs
//	Backoff      in the envelope; 100 ms more after each attempt without it
//	Timeout      in the envelope
//	Deadline     in the envelope
//	Header       in the envelope
//	Priority, ID, Unique  refused
//
// A file's name is state.due.id.attempts. Renaming it is how a job changes its
// state, since only one of those who rename a file succeeds.

// folderOptions are the options for dispatch. See newFolderExecutor.
type folderOptions struct {
	// QueueNames gives queues another name as a folder: portable to native.
	QueueNames map[string]string
}

// folderExecutor is the executor.
type folderExecutor struct {
	dir     string
	names   adapter.QueueNames
	guarded core.Executor
}

var errNotMade = fmt.Errorf("airlock: folder: use newFolderExecutor: %w", core.ErrInvalid)

// newFolderExecutor makes an executor that stores jobs below dir. Nil options are
// the defaults. It returns core.ErrInvalid for options that cannot work.
func newFolderExecutor(dir string, opts *folderOptions) (*folderExecutor, error) {
	if opts == nil {
		opts = &folderOptions{}
	}
	names, err := adapter.NewQueueNames("folder", opts.QueueNames, validFolder)
	if err != nil {
		return nil, err
	}
	e := &folderExecutor{dir: dir, names: names}
	e.guarded = adapter.Guard(e.Capabilities(), e.dispatch)
	return e, nil
}

func validFolder(name string) error {
	if name == "" || !filepath.IsLocal(name) || strings.ContainsAny(name, `/\`) {
		return errors.New("want the name of a folder")
	}
	return nil
}

// Execute is the core.Executor.
func (e *folderExecutor) Execute(ctx context.Context, intents ...core.Intent) error {
	if e == nil || e.guarded == nil {
		return adapter.Invalid(errNotMade)(ctx, intents...)
	}
	return e.guarded(ctx, intents...)
}

// Capabilities says what the executor does with each option.
func (e *folderExecutor) Capabilities() core.Capabilities {
	native := core.Claim{Support: core.SupportNative}
	ours := core.Claim{Support: core.SupportEmulated, Reason: "other workers ignore it"}
	return core.Capabilities{
		Executor:   "folder",
		Delivery:   core.GuaranteeAtLeastOnce,
		Durability: core.DurabilityBroker,
		Options: map[core.OptionName]core.Claim{
			core.OptionQueue: native, core.OptionDelay: native, core.OptionMaxAttempts: ours, core.OptionBackoff: ours,
			core.OptionTimeout: ours, core.OptionDeadline: ours, core.OptionHeader: ours,
		},
		DefaultAttempts: core.DefaultMaxAttempts,
		Refuse:          func(in core.Intent) error { return e.names.Refuse(&in) },
	}
}

// dispatch stores the intents, one after the other.
func (e *folderExecutor) dispatch(ctx context.Context, intents ...core.Intent) error {
	out := make([]core.Outcome, len(intents))
	for i := range intents {
		out[i] = outcomeOf(&intents[i], e.store(ctx, &intents[i]))
	}
	return core.Combine(out)
}

// entry is the content of a file.
type entry struct {
	Task     string
	Payload  []byte          // unchanged, so that other programs can read it
	Envelope json.RawMessage // what has no place elsewhere
}

// toNative returns the name and the content of the file for an intent.
func toNative(in *core.Intent, now time.Time) (fileName, entry) {
	due := now
	if !in.Options.At.IsZero() {
		due = in.Options.At
	}
	return fileName{state: waiting, due: due, id: in.ID},
		entry{Task: in.Task, Payload: in.Payload(), Envelope: adapter.EnvelopeOf(in).Encode()}
}

// errNotStored says that the job is certainly not stored.
var errNotStored = errors.New("not stored")

func (e *folderExecutor) store(ctx context.Context, in *core.Intent) error {
	if err := ctx.Err(); err != nil { // the caller gave up in the middle of the call
		return fmt.Errorf("%w: %w", errNotStored, err)
	}
	name, content := toNative(in, time.Now())
	return writeFile(filepath.Join(e.dir, e.names.Native(in.Options.Queue)), name, content)
}

func writeFile(folder string, name fileName, content entry) error {
	data, err := json.Marshal(content)
	if err == nil {
		err = os.MkdirAll(folder, 0o700)
	}
	draft := filepath.Join(folder, "draft."+name.id)
	if err == nil {
		err = os.WriteFile(draft, data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errNotStored, err)
	}
	return os.Rename(draft, filepath.Join(folder, name.String()))
}

// outcomeOf returns the outcome of an intent. After a failed rename it is not known
// whether the file has its new name.
func outcomeOf(in *core.Intent, err error) core.Outcome {
	o := core.Outcome{ID: in.ID, State: core.Unknown, Err: err}
	switch {
	case err == nil:
		o.State = core.Accepted
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		o.State = core.NotSent
	case errors.Is(err, errNotStored):
		o.State, o.Err = core.NotSent, fmt.Errorf("airlock: folder: %w: %w", core.ErrUnavailable, err)
	}
	return o
}

// The states of a file.
const (
	waiting = "waiting" // to be run when it is due
	taken   = "taken"   // by a worker
	dead    = "dead"    // failed for good
)

// fileName is the name of a job's file, without its folder.
type fileName struct {
	state    string
	due      time.Time
	id       string
	attempts int // that have begun
}

func (f fileName) String() string {
	return fmt.Sprintf("%s.%020d.%s.%d", f.state, max(f.due.UnixNano(), 0), f.id, f.attempts)
}

func parseName(base string) (f fileName, ok bool) {
	parts := strings.Split(base, ".")
	if len(parts) != 4 {
		return f, false
	}
	f.state, f.id = parts[0], parts[2]
	due, dueErr := strconv.ParseInt(parts[1], 10, 64)
	attempts, err := strconv.Atoi(parts[3])
	f.due, f.attempts = time.Unix(0, due), attempts
	return f, dueErr == nil && err == nil
}
