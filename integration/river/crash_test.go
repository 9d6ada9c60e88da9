package river_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// childFile names the database of a worker that is to be killed.
const childFile = "AIRLOCK_RIVER_TEST_DATABASE"

// TestChildWorker is the program of a worker process, and does nothing as a test.
func TestChildWorker(t *testing.T) {
	file := os.Getenv(childFile)
	if file == "" {
		return
	}
	w := setup(t, sqliteFile(t, file), nil)
	config := w.config(w.registry(worker.Handle(raw, func(ctx context.Context, _ []byte) error {
		job, _ := worker.JobFrom(ctx)
		fmt.Println("began", job.ID)
		select {}
	})))
	config.LeaderElectionDisabled = true // a dead leader would be waited for
	w.work(config)
	select {}
}

func TestAJobOfAKilledWorkerRunsAgain(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "river.db")
	w := setup(t, sqliteFile(t, file), nil)
	// It comes back long before its Timeout.
	in := w.intent(`"cut off"`, core.Backoff(core.Fixed(time.Millisecond)), core.Timeout(time.Hour))
	w.send(in)

	child := exec.Command(os.Args[0], "-test.run=^TestChildWorker$")
	child.Env = append(os.Environ(), childFile+"="+file)
	out, err := child.StdoutPipe()
	must(t, err)
	must(t, child.Start())
	defer func() { _ = child.Process.Kill() }()
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "began "+in.ID {
	}
	must(t, child.Process.Kill())
	_ = child.Wait() // killed, as was asked
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}

	config := w.config(w.registry(worker.Handle(raw, w.note)))
	config.JobTimeout, config.RescueStuckJobsAfter = time.Millisecond, time.Millisecond
	w.work(config)
	again := w.await(1)[0]
	if again.job.ID != in.ID || again.job.Attempt != 2 {
		t.Errorf("ran as %s, attempt %d", again.job.ID, again.job.Attempt)
	}
	// The ID was remembered all the time.
	w.wantStates(w.states(w.exec.Execute, in), core.Accepted)
	w.wantRows(1)
}
