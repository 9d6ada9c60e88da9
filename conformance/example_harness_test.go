package conformance_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/conformance"
)

func TestConformanceOfAQueue(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	conformance.Run(t, conformance.Harness{
		Subject:        conformance.Subject{Name: "folder"},
		Scale:          4,                      // a busy machine may take four times as long
		Settle:         100 * time.Millisecond, // times Scale
		ParksFor:       time.Second,
		Lease:          folderLease,
		RecoversWithin: 2 * folderLease,
		New: func(t conformance.T, s conformance.Setup) conformance.System {
			return newFolderSystem(t, s, filepath.Join(root, s.Namespace)) // two namespaces never meet
		},
	})
}

// quiet drops the log lines of jobs that fail on purpose.
var quiet = slog.New(slog.DiscardHandler)

const folderLease = 5 * time.Second

func newFolderSystem(t conformance.T, s conformance.Setup, dir string) conformance.System {
	exec, err := newFolderExecutor(dir, nil)
	if err != nil {
		t.Fatalf("executor: %v", err)
	}
	opts := &folderWorkerOptions{
		Concurrency: s.Slots, DrainTimeout: 3 * time.Second,
		ParkFor: 200 * time.Millisecond, Lease: folderLease, Logger: quiet,
	}
	for _, queue := range s.Queues {
		if queue == "" {
			queue = adapter.DefaultQueue
		}
		opts.Queues = append(opts.Queues, queue)
	}
	if s.Slots == 0 {
		opts.Concurrency = 4
	}
	w, err := newFolderWorker(dir, s.Registry, opts)
	if err != nil {
		t.Fatalf("worker: %v", err)
	}
	sys := conformance.System{
		Exec: exec.Execute, Caps: exec.Capabilities(), Slots: opts.Concurrency,
		Kill:   func() error { w.kill(); return nil },
		Stored: func(context.Context) ([]conformance.Record, error) { return stored(dir), nil },
		Corrupt: func(_ context.Context, task string) error {
			return writeFile(filepath.Join(dir, adapter.DefaultQueue), odd(), entry{Task: task, Envelope: []byte(`"?"`)})
		},
		Later: func(_ context.Context, task string) error {
			return writeFile(filepath.Join(dir, adapter.DefaultQueue), odd(), entry{Task: task, Envelope: []byte(`{"v":1000}`)})
		},
	}
	conformance.RunWorker(t, s, &sys, w.Run) // sets Start and Stop
	return sys
}

var oddJobs atomic.Int64

// odd names the file of a job that no executor has stored.
func odd() fileName {
	return fileName{state: waiting, due: time.Now(), id: fmt.Sprintf("odd-%d", oddJobs.Add(1))}
}

// stored lists the jobs of a namespace.
func stored(dir string) []conformance.Record {
	states := map[string]conformance.RecordState{
		waiting: conformance.Waiting, taken: conformance.Running, dead: conformance.Buried,
	}
	var records []conformance.Record
	folders, _ := os.ReadDir(dir)
	for _, folder := range folders {
		files, _ := os.ReadDir(filepath.Join(dir, folder.Name()))
		for _, f := range files {
			if name, ok := parseName(f.Name()); ok {
				records = append(records, conformance.Record{ID: name.id, State: states[name.state]})
			}
		}
	}
	return records
}
