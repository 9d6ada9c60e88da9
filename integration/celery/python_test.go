//go:build realservers

package celery_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// python is the interpreter that sees Debian's python3-celery.
const python = "/usr/bin/python3"

// A workshop starts Celery workers, each in a process of its own: see
// testdata/worker.py.
type workshop struct {
	mu  sync.Mutex
	in  io.Writer      // guarded by mu
	out *bufio.Scanner // guarded by mu
	dir string
}

func newWorkshop(t *testing.T) *workshop {
	t.Helper()
	requireCelery(t)
	dir, err := os.MkdirTemp("", "celery") // short: the path of a socket has 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "testdata/worker.py")
	in, errIn := cmd.StdinPipe()
	out, errOut := cmd.StdoutPipe()
	cmd.Stderr = os.Stderr
	if err := errors.Join(errIn, errOut, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	})
	return &workshop{in: in, out: bufio.NewScanner(out), dir: dir}
}

func requireCelery(t *testing.T) {
	t.Helper()
	if out, err := exec.Command(python, "-c", "import celery, redis").CombinedOutput(); err != nil {
		t.Fatalf("Celery is missing. Type:\n    apt-get install -y python3-celery python3-redis\n%s", out)
	}
}

// spec is what a worker is started with.
type spec struct {
	Broker      string   `json:"broker"`
	Prefix      string   `json:"prefix"`
	Visibility  float64  `json:"visibility"`
	Queues      []string `json:"queues"`
	Tasks       []string `json:"tasks"`
	Concurrency int      `json:"concurrency"`
	Socket      string   `json:"socket"`
	Late        bool     `json:"late"`
	Attempts    int      `json:"attempts"`
	Priorities  bool     `json:"priorities"`
}

func (w *workshop) start(s spec) (pid int, err error) {
	line, err := json.Marshal(s)
	if err != nil {
		return 0, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := w.in.Write(append(line, '\n')); err != nil {
		return 0, err
	}
	if !w.out.Scan() {
		return 0, errors.Join(errors.New("the workshop is closed"), w.out.Err())
	}
	var answer struct{ Pid int }
	if err := json.Unmarshal(w.out.Bytes(), &answer); err != nil {
		return 0, err
	}
	return answer.Pid, nil
}

// celeryWorker is a Celery worker whose tasks hand each run to a registry.
type celeryWorker struct {
	shop     *workshop
	spec     spec
	portable map[string]string // queue by its name in Celery
	reg      *worker.Registry
	listener net.Listener

	ctx    context.Context // of handlers
	cancel context.CancelCauseFunc
	serve  sync.WaitGroup

	mu    sync.Mutex
	pid   int                   // guarded by mu
	ended bool                  // guarded by mu
	conns map[net.Conn]struct{} // guarded by mu
}

func newCeleryWorker(t cleaner, shop *workshop, s spec, portable map[string]string, reg *worker.Registry) (*celeryWorker, error) {
	f, err := os.CreateTemp(shop.dir, "s")
	if err != nil {
		return nil, err
	}
	_ = f.Close()
	_ = os.Remove(f.Name())
	s.Socket = filepath.Clean(f.Name())
	l, err := net.Listen("unix", s.Socket)
	if err != nil {
		return nil, err
	}
	w := &celeryWorker{shop: shop, spec: s, portable: portable, reg: reg, listener: l, conns: map[net.Conn]struct{}{}}
	w.ctx, w.cancel = context.WithCancelCause(context.Background())
	w.serve.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			w.serve.Go(func() { w.perform(conn) })
		}
	})
	t.Cleanup(w.close)
	return w, nil
}

func (w *celeryWorker) start() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pid != 0 || w.ended {
		return nil
	}
	pid, err := w.shop.start(w.spec)
	w.pid = pid
	return err
}

// kill ends the worker and the processes of its pool.
func (w *celeryWorker) kill() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	if w.pid == 0 {
		return nil
	}
	if err := syscall.Kill(-w.pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
		return err
	}
	return nil
}

// stop is Celery's warm shutdown. Runs that take longer than ctx are interrupted.
func (w *celeryWorker) stop(ctx context.Context) error {
	w.mu.Lock()
	pid, again := w.pid, w.ended
	w.ended = true
	w.mu.Unlock()
	if pid == 0 {
		return nil
	}
	if !again { // more calls do nothing, as System.Stop says
		if err := syscall.Kill(pid, syscall.SIGTERM); err == syscall.ESRCH {
			return nil
		}
	}
	if gone(ctx, pid) {
		return nil
	}
	w.cancel(worker.ErrStopping)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	if !gone(last, pid) {
		_ = w.kill()
		return errors.New("the Celery worker did not end")
	}
	return ctx.Err()
}

func gone(ctx context.Context, pid int) bool {
	for {
		if syscall.Kill(-pid, 0) == syscall.ESRCH {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (w *celeryWorker) close() {
	_ = w.kill()
	w.cancel(worker.ErrStopping)
	_ = w.listener.Close()
	w.mu.Lock()
	for conn := range w.conns {
		_ = conn.Close()
	}
	w.mu.Unlock()
	w.serve.Wait()
}

// run is what a task sends.
type run struct {
	Task, ID, Queue, Expires, Form string
	Attempt                        int
	Soft                           *float64
	Headers                        map[string]string
	Args                           []json.RawMessage
	Kwargs                         json.RawMessage
}

func (r *run) payload() []byte {
	array := func() []byte {
		data, err := json.Marshal(r.Args)
		if err != nil {
			panic(err) // it was decoded
		}
		return data
	}
	switch kwargs := string(r.Kwargs); {
	case kwargs != "{}" || r.Form == "object":
		return r.Kwargs
	case r.Form == "array" || len(r.Args) > 1:
		return array()
	case len(r.Args) == 1:
		return r.Args[0]
	}
	return []byte("null")
}

// limited is a context that ends when Celery's soft time limit is over.
type limited struct {
	context.Context
	end  time.Time
	over chan struct{}
	once sync.Once
}

func (l *limited) Deadline() (time.Time, bool) { return l.end, true }
func (l *limited) Done() <-chan struct{}       { return l.over }
func (l *limited) reach()                      { l.once.Do(func() { close(l.over) }) }

func (l *limited) Err() error {
	select {
	case <-l.over:
		if err := l.Context.Err(); err != nil {
			return err
		}
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// perform runs one job for a task, and sends it the answer.
func (w *celeryWorker) perform(conn net.Conn) {
	defer conn.Close()
	w.mu.Lock()
	w.conns[conn] = struct{}{}
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		delete(w.conns, conn)
		w.mu.Unlock()
	}()
	in := bufio.NewReaderSize(conn, 1<<16)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return
	}
	var r run
	if err := json.Unmarshal(line, &r); err != nil {
		fmt.Fprintln(os.Stderr, "a task sent", err)
		return
	}
	d := worker.Delivery{
		ID: r.ID, Task: r.Task, Queue: w.portable[r.Queue], Payload: r.payload(), Headers: core.NewHeaders(r.Headers),
		Attempt: r.Attempt, MaxAttempts: w.spec.Attempts,
	}
	if r.Expires != "" {
		d.Deadline, _ = time.Parse(time.RFC3339Nano, r.Expires)
	}
	ctx, cancel := context.WithCancelCause(w.ctx)
	defer cancel(nil)
	var soft *limited
	if r.Soft != nil {
		soft = &limited{Context: ctx, end: time.Now().Add(time.Duration(*r.Soft * float64(time.Second))), over: make(chan struct{})}
		stop := context.AfterFunc(ctx, soft.reach)
		defer stop()
	}
	w.serve.Go(func() { // reads what the task sends while it waits
		for {
			if _, err := in.ReadBytes('\n'); err != nil {
				cancel(worker.ErrStopping) // its process is gone, or has the answer
				return
			}
			if soft != nil {
				soft.reach()
			}
		}
	})
	var within context.Context = ctx
	if soft != nil {
		within = soft
	}
	v := w.reg.Perform(within, d)
	if v.Action == worker.Interrupted && ctx.Err() == nil {
		v.Action = worker.Retry // the time limit of this attempt
		if d.Attempt >= d.MaxAttempts {
			v.Action = worker.Dead
		}
	}
	answer := map[string]any{"action": v.Action.String(), "after": v.After.Seconds()}
	if v.Err != nil {
		answer["error"] = "the handler failed"
	}
	data, err := json.Marshal(answer)
	if err == nil {
		_, err = conn.Write(append(data, '\n'))
	}
	if err == nil {
		_ = conn.(*net.UnixConn).CloseWrite()
	}
}

func nativeQueues(portable []string, names map[string]string) (native []string, back map[string]string) {
	back = map[string]string{}
	if len(portable) == 0 {
		portable = []string{"default"}
	}
	for _, q := range portable {
		n := q
		if q == "default" {
			n = "celery"
		}
		if other, ok := names[q]; ok {
			n = other
		}
		if back[n] = q; !slices.Contains(native, n) {
			native = append(native, n)
		}
	}
	return native, back
}
