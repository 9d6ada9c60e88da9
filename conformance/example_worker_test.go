package conformance_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// folderWorkerOptions are the options of a worker. See newFolderWorker.
type folderWorkerOptions struct {
	Queues       []string          // portable names; nil: the default queue and those of the registry
	QueueNames   map[string]string // as in folderOptions
	Concurrency  int               // jobs at a time; 0: 10
	DrainTimeout time.Duration     // 0: adapter.DefaultDrainTimeout, less than 0: none
	ParkFor      time.Duration     // how long a job waits that no handler knows; 0: a minute
	Lease        time.Duration     // a job whose worker is silent for so long runs again; 0: a minute
	Logger       *slog.Logger      // nil: slog.Default
}

// folderWorker runs the jobs of some queues.
type folderWorker struct {
	dir     string
	opts    folderWorkerOptions
	names   adapter.QueueNames
	reg     *worker.Registry
	drain   *adapter.Drain
	started atomic.Bool
	crashed atomic.Bool // see kill

	mu   sync.Mutex
	mine map[string]struct{} // paths of the files of running jobs; guarded by mu
}

// newFolderWorker makes a worker. Nil options are the defaults. It returns
// core.ErrInvalid for a nil registry and for options that cannot work.
func newFolderWorker(dir string, reg *worker.Registry, opts *folderWorkerOptions) (*folderWorker, error) {
	if reg == nil {
		return nil, fmt.Errorf("airlock: folder: nil registry: %w", core.ErrInvalid)
	}
	w := &folderWorker{dir: dir, reg: reg, mine: map[string]struct{}{}}
	if opts != nil {
		w.opts = *opts
	}
	o := &w.opts
	if o.Concurrency == 0 {
		o.Concurrency = 10
	}
	if o.ParkFor == 0 {
		o.ParkFor = time.Minute
	}
	if o.Lease == 0 {
		o.Lease = time.Minute
	}
	var err error
	if w.names, err = adapter.NewQueueNames("folder", o.QueueNames, validFolder); err != nil {
		return nil, err
	}
	if o.Queues, err = w.names.Worked(o.Queues, reg.Queues()); err != nil {
		return nil, err
	}
	w.drain = adapter.NewDrain(o.DrainTimeout)
	return w, nil
}

// Run works until ctx ends. Then it takes no more jobs, and waits for those that run
// for at most DrainTimeout. Then it ends their contexts and puts them back. It
// returns a *worker.DrainError for handlers that ignore the end of their context.
func (w *folderWorker) Run(ctx context.Context) error {
	if w == nil || w.drain == nil || !w.started.CompareAndSwap(false, true) {
		return errors.New("airlock: folder: the worker was not made by newFolderWorker, or has run before")
	}
	over := make(chan struct{})
	var leases sync.WaitGroup
	leases.Go(func() { w.keepLeases(over) })
	w.fetch(ctx)
	err := w.drain.Stop()
	close(over)
	leases.Wait()
	return err
}

// fetch takes jobs while ctx lasts, each when a slot is free.
func (w *folderWorker) fetch(ctx context.Context) {
	slots := make(chan struct{}, w.opts.Concurrency)
	for ctx.Err() == nil && !w.crashed.Load() {
		files := w.files(waiting, time.Now())
		for _, f := range files {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
			}
			if ctx.Err() != nil {
				return
			}
			if !w.begin(f, func() { <-slots }) {
				<-slots
			}
		}
		if len(files) == 0 {
			pause(ctx.Done(), 5*time.Millisecond)
		}
	}
}

func pause(done <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-done:
	}
}

// file is the file of a job.
type file struct {
	fileName
	queue string // portable
	path  string
}

// files lists the files of a state that are due, in this order.
func (w *folderWorker) files(state string, now time.Time) []file {
	var all []file
	for _, queue := range w.opts.Queues {
		folder := filepath.Join(w.dir, w.names.Native(queue))
		entries, _ := os.ReadDir(folder) // no folder, no jobs
		for _, e := range entries {
			name, ok := parseName(e.Name())
			if ok && name.state == state && !name.due.After(now) {
				all = append(all, file{name, queue, filepath.Join(folder, e.Name())})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b file) int { return a.due.Compare(b.due) })
	return all
}

// rename gives a file another name. It reports false if somebody else was faster.
func (f *file) rename(to fileName) bool {
	path := filepath.Join(filepath.Dir(f.path), to.String())
	if os.Rename(f.path, path) != nil {
		return false
	}
	f.fileName, f.path = to, path
	return true
}

// begin takes a job and runs it on its own goroutine. From here on the attempt
// counts, even if this process ends now.
func (w *folderWorker) begin(f file, free func()) bool {
	now := time.Now()
	_ = os.Chtimes(f.path, now, now) // the lease begins before the file is ours
	if !f.rename(fileName{taken, f.due, f.id, f.attempts + 1}) {
		return false
	}
	w.setMine(f.path, true)
	d := w.deliveryOf(&f)
	end, ok := w.drain.Begin(&d)
	if !ok {
		w.apply(&f, worker.Verdict{Action: worker.Interrupted})
		return false
	}
	go func() {
		defer free()
		defer end()
		began := time.Now()
		v := w.perform(d)
		w.apply(&f, v)
		adapter.LogRun(context.Background(), w.opts.Logger, worker.Run{Delivery: d, Verdict: v, Took: time.Since(began)})
	}()
	return true
}

// deliveryOf reads a file. What cannot be read is left to Perform.
func (w *folderWorker) deliveryOf(f *file) worker.Delivery {
	var e entry
	data, err := os.ReadFile(f.path)
	if err == nil {
		err = json.Unmarshal(data, &e)
	}
	d := adapter.DeliveryOf(e.Envelope)
	if err != nil {
		d.EnvelopeErr = fmt.Errorf("airlock: folder: malformed file: %w", core.ErrInvalid)
	}
	if d.ID == "" {
		d.ID = f.id // another program has stored the job
	}
	d.Task, d.Queue, d.Payload, d.Attempt, d.Native = e.Task, f.queue, e.Payload, f.attempts, f.path
	return d
}

var errUsedUp = errors.New("airlock: folder: the job's worker ended in its last attempt")

// perform runs the job, unless a crash has used up its attempts.
func (w *folderWorker) perform(d worker.Delivery) worker.Verdict {
	if d.Attempt <= d.MaxAttempts || d.EnvelopeErr != nil {
		return w.reg.Perform(w.drain.Context(), d)
	}
	v := worker.Verdict{Action: worker.Dead, Err: errUsedUp}
	w.reg.Report(w.drain.Context(), worker.Run{Delivery: d, Verdict: v})
	return v
}

// apply does with a job what the verdict says.
func (w *folderWorker) apply(f *file, v worker.Verdict) {
	defer w.setMine(f.path, false)
	if w.crashed.Load() {
		return
	}
	again := fileName{waiting, time.Now().Add(v.After), f.id, f.attempts}
	ok := true
	switch v.Action {
	case worker.Done:
		ok = os.Remove(f.path) == nil
	case worker.Dead:
		ok = f.rename(fileName{dead, f.due, f.id, f.attempts})
	case worker.Retry:
		if v.After == 0 { // the job has no backoff of its own
			again.due = again.due.Add(time.Duration(f.attempts) * 100 * time.Millisecond)
		}
		ok = f.rename(again)
	case worker.Parked:
		again.due = again.due.Add(w.opts.ParkFor)
		fallthrough
	case worker.Snoozed, worker.Interrupted: // the run does not count
		again.attempts--
		ok = f.rename(again)
	}
	if !ok {
		w.logger().Warn("airlock: the job's lease was lost", "id", f.id)
	}
}

func (w *folderWorker) logger() *slog.Logger {
	if w.opts.Logger == nil {
		return slog.Default()
	}
	return w.opts.Logger
}

func (w *folderWorker) setMine(path string, running bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if running {
		w.mine[path] = struct{}{}
	} else {
		delete(w.mine, path)
	}
}

// keepLeases renews the leases of this worker's jobs, and puts back the jobs of
// workers that have crashed.
func (w *folderWorker) keepLeases(over <-chan struct{}) {
	for {
		pause(over, w.opts.Lease/5)
		select {
		case <-over:
			return
		default:
		}
		now := time.Now()
		for _, f := range w.files(taken, now) {
			w.mu.Lock()
			_, mine := w.mine[f.path]
			w.mu.Unlock()
			switch info, err := os.Stat(f.path); {
			case err != nil || w.crashed.Load():
			case mine:
				_ = os.Chtimes(f.path, now, now)
			case now.Sub(info.ModTime()) > w.opts.Lease:
				f.rename(fileName{waiting, f.due, f.id, f.attempts})
			}
		}
	}
}

// kill makes the worker do nothing any more, as if its process had ended.
func (w *folderWorker) kill() { w.crashed.Store(true) }
