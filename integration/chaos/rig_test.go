//go:build realservers

package chaos_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A rig is the processes of one cell, and what was done to them.
type rig struct {
	*testing.T
	queue  string
	server server
	dir    string

	mu      sync.Mutex
	outages []outage // guarded by mu
	started int      // guarded by mu; numbers the processes

	// Of the goroutine that does the faults.
	producers       [4]*process
	workers         [3]*process
	killedProducers int
}

func newRig(t *testing.T, name string) *rig {
	t.Helper()
	q := queues[name]
	r := &rig{T: t, queue: name, server: q.start(t), dir: t.TempDir()}
	t.Cleanup(func() {
		if t.Failed() {
			r.showLogs()
		}
	})
	return r
}

// A process is a child with a role.
type process struct {
	name string
	cmd  *exec.Cmd
	done chan error // has the result of Wait
}

// start starts a child. Its ledger and its log are named after it. Once the ledger is
// there, the child also listens to SIGTERM.
func (r *rig) start(role string) *process {
	r.Helper()
	r.mu.Lock()
	r.started++
	name := fmt.Sprintf("%s-%03d", role, r.started)
	r.mu.Unlock()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"="+role, queueVariable+"="+r.queue, urlVariable+"="+r.server.URL(),
		fileVariable+"="+filepath.Join(r.dir, name+".ledger"))
	log, err := os.Create(filepath.Join(r.dir, name+".log"))
	must(r, err)
	cmd.Stdout, cmd.Stderr = log, log
	must(r, cmd.Start())
	must(r, log.Close())
	p := &process{name, cmd, make(chan error, 1)}
	go func() { p.done <- cmd.Wait() }()
	r.Cleanup(func() { _ = cmd.Process.Kill() })
	if role == "burner" {
		return p
	}
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(r.dir, name+".ledger")); err == nil {
			return p
		} else if time.Now().After(end) {
			r.Fatalf("%s has not started: %v", name, err)
		}
	}
}

// note records an outage that has ended now.
func (r *rig) note(process string, from time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.outages = append(r.outages, outage{process, from, time.Now()})
}

// kill ends a process without warning.
func (r *rig) kill(p *process) {
	r.Helper()
	from := time.Now()
	must(r, p.cmd.Process.Signal(syscall.SIGKILL))
	<-p.done
	r.note(p.name, from)
}

// stop asks a process to end, and fails the test if it does not in time.
func (r *rig) stop(p *process) {
	r.Helper()
	must(r, p.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-p.done:
		if err != nil {
			r.Errorf("%s ended with %v", p.name, err)
		}
	case <-time.After(patience):
		r.Errorf("%s has not ended %v after SIGTERM", p.name, patience)
		r.kill(p)
	}
}

// freeze stops a process for a time.
func (r *rig) freeze(p *process, d time.Duration) {
	r.Helper()
	from := time.Now()
	must(r, p.cmd.Process.Signal(syscall.SIGSTOP))
	time.Sleep(d)
	must(r, p.cmd.Process.Signal(syscall.SIGCONT))
	r.note(p.name, from)
}

// serverAway runs do, between whose beginning and end the server cannot be used.
func (r *rig) serverAway(do func() error) {
	r.Helper()
	from := time.Now()
	must(r, do())
	r.note("", from)
}

func (r *rig) showLogs() {
	logs, _ := filepath.Glob(filepath.Join(r.dir, "*.log"))
	for _, path := range logs {
		text, err := os.ReadFile(path)
		if err != nil || len(text) == 0 {
			continue
		}
		r.Logf("%s:\n%s", filepath.Base(path), text[:min(len(text), 2000)])
	}
}

// run has producers send intents while the faults happen, waits until all accepted jobs
// have run, and judges.
func (r *rig) run(faults func(*rig, time.Time), during time.Duration) result {
	r.Helper()
	for i := range r.producers {
		r.producers[i] = r.start("producer")
	}
	for i := range r.workers {
		r.workers[i] = r.start("worker")
	}
	faults(r, time.Now().Add(during))
	for _, p := range r.producers {
		r.stop(p)
	}
	got := r.await()
	for _, p := range r.workers {
		r.stop(p)
	}
	return got
}

// patience is how long accepted jobs may take to run after the last fault. The longest
// wait is that for the lease of a killed worker on asynq.
const patience = 4 * time.Minute

// await judges until nothing is missing, and a while longer, so that further runs are
// seen.
func (r *rig) await() result {
	r.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(500 * time.Millisecond) {
		got := r.judge()
		if len(got.lost) == 0 {
			time.Sleep(min(queues[r.queue].lease, 4*time.Second))
			return r.judge()
		}
		if time.Now().After(end) {
			return got
		}
	}
}

func (r *rig) judge() result {
	r.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	return judge(readLedgers(r.T, r.dir), r.outages, queues[r.queue].resends)
}
