package conformance_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
)

// folder is a queue of files, the smallest one whose jobs outlive their process.
type folder struct {
	dir  string
	last atomic.Int64
}

// message is what is stored of a job: the payload as it is, and our own fields
// beside it.
type message struct {
	Task     string
	Payload  []byte
	Envelope json.RawMessage
	Attempt  int
	After    time.Time // not to be run before
}

func (q *folder) capabilities() core.Capabilities {
	native := core.Claim{Support: core.Native}
	return core.Capabilities{
		Executor: "folder", Delivery: core.AtLeastOnce, Durability: core.InBroker, DefaultAttempts: 3,
		Options: map[core.OptionName]core.Claim{
			core.OptionDelay: native, core.OptionMaxAttempts: native, core.OptionBackoff: native,
			core.OptionTimeout: native, core.OptionDeadline: native, core.OptionHeader: native,
		},
	}
}

// send is the executor, to be put behind core.Guard.
func (q *folder) send(ctx context.Context, intents ...core.Intent) error {
	out := make([]core.Outcome, len(intents))
	for i, in := range intents {
		out[i] = core.Outcome{ID: in.ID, State: core.Accepted}
		if err := ctx.Err(); err != nil { // the caller left in the middle of the batch
			out[i].State, out[i].Err = core.NotSent, err
			continue
		}
		m := message{Task: in.Task, Payload: in.Payload(), Envelope: in.Envelope().Encode(), Attempt: 1, After: in.Options.At}
		if err := q.put(m); err != nil {
			out[i].State, out[i].Err = core.Unknown, err
		}
	}
	return core.Combine(out)
}

func (q *folder) put(m message) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%020d-%06d", time.Now().UnixNano(), q.last.Add(1))
	draft := filepath.Join(q.dir, "draft-"+name)
	if err := os.WriteFile(draft, data, 0o600); err != nil {
		return err
	}
	return os.Rename(draft, filepath.Join(q.dir, "job-"+name))
}

// perform runs the job in a file that this worker has made its own.
func (q *folder) perform(ctx context.Context, reg *core.Registry, file string) {
	var m message
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	env, bad := core.DecodeEnvelope(m.Envelope)
	if err != nil || bad != nil {
		os.Rename(file, strings.Replace(file, "mine-", "dead-", 1))
		return
	}
	if wait := time.Until(m.After); wait > 0 { // not yet
		time.Sleep(min(wait, 2*time.Millisecond))
		os.Rename(file, strings.Replace(file, "mine-", "job-", 1))
		return
	}
	if env.MaxAttempts == 0 {
		env.MaxAttempts = q.capabilities().DefaultAttempts
	}
	v := reg.Perform(ctx, core.Delivery{
		ID: env.ID, Task: m.Task, Payload: m.Payload, Headers: env.Headers, Attempt: m.Attempt,
		MaxAttempts: env.MaxAttempts, Backoff: env.Backoff, Timeout: env.Timeout, Deadline: env.Deadline,
	})
	switch v.Action {
	case core.Done:
		os.Remove(file)
	case core.Dead:
		os.Rename(file, strings.Replace(file, "mine-", "dead-", 1))
	case core.Retry:
		m.Attempt++
		fallthrough
	case core.Snoozed:
		m.After = time.Now().Add(v.After)
		if q.put(m) == nil {
			os.Remove(file)
		}
	}
}

// worker runs the jobs of a folder.
type worker struct {
	queue    *folder
	registry *core.Registry
	slots    int
	stopping chan struct{}
	working  context.Context
	cutOff   context.CancelFunc
	running  sync.WaitGroup
	once     sync.Once
}

func newWorker(q *folder, reg *core.Registry, slots int) *worker {
	w := &worker{queue: q, registry: reg, slots: max(slots, 1), stopping: make(chan struct{})}
	w.working, w.cutOff = context.WithCancel(context.Background())
	return w
}

func (w *worker) start(context.Context) error {
	for range w.slots {
		w.running.Go(func() {
			for {
				select {
				case <-w.stopping:
					return
				case <-time.After(2 * time.Millisecond):
				}
				w.look()
			}
		})
	}
	return nil
}

// look runs what it finds, one job after the other.
func (w *worker) look() {
	files, _ := filepath.Glob(filepath.Join(w.queue.dir, "job-*"))
	for _, file := range files {
		select {
		case <-w.stopping:
			return
		default:
		}
		mine := strings.Replace(file, "job-", "mine-", 1)
		if os.Rename(file, mine) == nil { // else somebody else was quicker
			w.queue.perform(w.working, w.registry, mine)
		}
	}
}

func (w *worker) stop(ctx context.Context) error {
	w.once.Do(func() { close(w.stopping) })
	done := make(chan struct{})
	go func() { w.running.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		w.cutOff()
		<-done
		return ctx.Err()
	}
}

func TestConformanceOfAQueue(t *testing.T) {
	root := t.TempDir()
	conformance.Run(t, conformance.Harness{
		Scale: 4, Settle: 250 * time.Millisecond, // for busy machines: Scale multiplies every limit
		New: func(t conformance.T, s conformance.Setup) conformance.System {
			q := &folder{dir: filepath.Join(root, s.Namespace)} // two namespaces never meet
			if err := os.MkdirAll(q.dir, 0o700); err != nil {
				t.Fatalf("folder: %v", err)
			}
			w := newWorker(q, s.Registry, s.Slots)
			sys := conformance.System{
				Exec: core.Guard(q.capabilities(), q.send), Caps: q.capabilities(),
				Start: w.start, Stop: w.stop, Slots: w.slots,
			}
			if !s.Paused { // else the suite calls Start
				w.start(t.Context())
			}
			t.Cleanup(func() {
				gone, cancel := context.WithCancel(context.Background())
				cancel()
				w.stop(gone)
			})
			return sys
		},
	})
}
