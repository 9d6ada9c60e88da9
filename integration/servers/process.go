package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A process is the engine of a server that is a program of its own.
type process struct {
	prepare func(context.Context) error // called before each start; may be nil
	command func() *exec.Cmd            // a fresh one for each start
	ready   func(context.Context) error // one look
	quit    os.Signal                   // asks for an end in good order
	said    tail

	cmd  *exec.Cmd
	gone chan struct{} // closed when cmd and all that it started are gone
}

func (p *process) output() string { return p.said.String() }

// start gives the process a goroutine that keeps its thread until the process is gone. For the kernel the parent is dead when
// its thread ends, not its process (prctl(2), PR_SET_PDEATHSIG).
func (p *process) start(ctx context.Context) error {
	if p.prepare != nil {
		if err := p.prepare(ctx); err != nil {
			return err
		}
	}
	cmd := p.command()
	// Output goes through a pipe that every descendant holds, so Wait returns when the last one is gone.
	cmd.Stdout, cmd.Stderr = &p.said, &p.said
	cmd.WaitDelay = patience
	dieWithParent(cmd)
	gone, started := make(chan struct{}), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(gone)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // its output says how it ended
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	p.cmd, p.gone = cmd, gone
	return poll(ctx, gone, p.ready)
}

func (p *process) kill() error { return p.end(os.Kill) }

func (p *process) stop() error {
	if p.cmd == nil {
		return nil
	}
	if err := p.signal(p.quit); err != nil {
		return err
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.gone:
		return nil
	case <-timer.C:
		return errors.Join(fmt.Errorf("still there %v after %v, killed", patience, p.quit), p.kill())
	}
}

// end sends sig and waits.
func (p *process) end(sig os.Signal) error {
	if p.cmd == nil {
		return nil
	}
	if err := p.signal(sig); err != nil {
		return err
	}
	<-p.gone
	return nil
}

// signal is content when there is nobody left to hear.
func (p *process) signal(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// debianPostgres is where Debian and Ubuntu keep initdb and postgres, out of PATH, one folder per major version.
const debianPostgres = "/usr/lib/postgresql/*/bin"

// program finds a program on PATH or in one of the folders, the last of them first, or ends the test and says what to do.
func program(tb testing.TB, name string, folders ...string) string {
	tb.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, folder := range slices.Backward(folders) {
		if path, err := exec.LookPath(filepath.Join(folder, name)); err == nil {
			return path
		}
	}
	tb.Fatalf("servers: %s is missing. Type:\n"+
		"    apt-get install -y redis-server postgresql mariadb-server pgbouncer\n"+
		"Without it, 'make test-embedded' runs the tests that need Go alone.", name)
	return ""
}

// terminate is the polite signal of most servers.
const terminate = syscall.SIGTERM

// A tail keeps the last part of what is written to it.
type tail struct {
	mu   sync.Mutex // guards text
	text []byte
}

// tailSize is how much of a server's output is worth reading.
const tailSize = 16 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	if extra := len(t.text) - tailSize; extra > 0 {
		t.text = append(t.text[:0], t.text[extra:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
