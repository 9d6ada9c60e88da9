package work_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/core"
	workexec "github.com/goairlock/airlock/executors/work"
	"github.com/goairlock/airlock/worker"
)

// A freezer is a way to Redis on which nothing passes while it is cold, as for a process that is stopped.
type freezer struct {
	m *miniredis.Miniredis

	mu    sync.Mutex
	cold  bool       // guarded by mu
	conns []net.Conn // guarded by mu
}

func (f *freezer) pool() *redis.Pool {
	return &redis.Pool{MaxIdle: 20, DialContext: func(ctx context.Context) (redis.Conn, error) {
		return redis.DialContext(ctx, "tcp", "", redis.DialContextFunc(func(context.Context, string, string) (net.Conn, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.cold {
				return nil, errFrozen
			}
			conn, err := f.m.Dial()
			f.conns = append(f.conns, conn)
			return conn, err
		}))
	}}
}

var errFrozen = errors.New("frozen")

func (f *freezer) set(cold bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cold = cold
	for _, conn := range f.conns {
		_ = conn.Close()
	}
	f.conns = nil
}

// A lines is a log that can be searched.
type lines struct {
	mu  sync.Mutex
	all strings.Builder // guarded by mu
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

func (l *lines) count(parts ...string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
next:
	for line := range strings.Lines(l.all.String()) {
		for _, part := range parts {
			if !strings.Contains(line, part) {
				continue next
			}
		}
		n++
	}
	return n
}

func (l *lines) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// TestWhoNoLongerHoldsAJobDecidesNothing has a worker that is frozen for longer than others wait. Another one takes its job
// back and runs it. Then the first one wakes up, and its handler answers.
func TestWhoNoLongerHoldsAJobDecidesNothing(t *testing.T) {
	t.Parallel()
	answers := map[string]error{
		"ok": nil, "fails": errors.New("boom"), "fails late": errors.New("boom"),
		"Permanent": worker.Permanent(errors.New("boom")), "Snooze": worker.Snooze(time.Second),
	}
	for _, mode := range []string{"NewWorker", "Register"} {
		for what, answer := range answers {
			for _, running := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %s, new owner running %v", mode, what, running), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) { staleOwner(t, mode == "Register", what == "fails late", answer, running) })
				})
			}
		}
	}
}

func staleOwner(t *testing.T, registered, late bool, answer error, running bool) {
	m := miniredis.NewMiniRedis()
	m.ClockTTL(true)
	warm, frozen := &freezer{m: m}, &freezer{m: m}
	w := setup(t, warm.pool(), "owner", workexec.Options{})
	w.Ctx = t.Context()
	old := setup(t, frozen.pool(), "owner", workexec.Options{})
	wake, finish := make(chan struct{}), make(chan struct{})
	var log lines
	reg := old.Registry(func(ctx context.Context, _ string) error {
		<-wake
		if late && ctx.Err() == nil {
			t.Error("the time is not up")
		}
		return answer
	})
	opts := &workexec.WorkerOptions{Logger: log.logger()}
	var stale *workexec.Worker
	var err error
	if registered {
		stale, err = workexec.Register(old.pool("", 2), reg, opts)
	} else {
		opts.Namespace = "owner"
		stale, err = workexec.NewWorker(old.rdb, reg, opts)
	}
	w.Must(err)
	old.start(stale)
	w.Want("accepted", w.Intent("", core.ID("x"), core.MaxAttempts(5), core.Backoff(core.Fixed(time.Second)), core.Timeout(20*time.Second), core.Unique("k")))
	old.Await(1)
	w.serve(func(context.Context, string) error {
		<-finish
		return nil
	})
	time.Sleep(15 * time.Second)
	frozen.set(true)
	if r := w.Await(1)[0]; r.Job.Attempt != 2 {
		t.Errorf("the new owner runs %+v", r)
	}
	if !running {
		close(finish)
		w.awaitPlace("x", "gone")
	}
	frozen.set(false)
	time.Sleep(10 * time.Second)
	close(wake)
	time.Sleep(time.Minute)
	if n := log.count("level=WARN", "given to another worker", "id=x"); n != 1 {
		t.Errorf("%d warnings:\n%s", n, log.all.String())
	}
	want := "gone"
	if running {
		want = "running"
	}
	if place := w.find("x").place; place != want {
		t.Errorf("the job is %s, want %s", place, want)
	}
	if running {
		w.Want("duplicate", w.Intent("", core.Unique("k")))
		close(finish)
		w.awaitPlace("x", "gone")
	}
	time.Sleep(time.Minute)
	if n := len(old.Await(0)) + len(w.Await(0)); n != 2 || len(w.jobs("owner")) != 0 {
		t.Errorf("%d runs, want 2; %+v is left", n, w.jobs("owner"))
	}
	for _, r := range append(w.running, old.running...) {
		w.Must(r.stop())
	}
	w.Must(errors.Join(w.rdb.Close(), old.rdb.Close()))
	m.Close()
}

// TestASuccessThatTheWorkerKnowsIsNotRunAgain takes Redis away while jobs run, for longer than others wait for a heartbeat.
func TestASuccessThatTheWorkerKnowsIsNotRunAgain(t *testing.T) {
	t.Parallel()
	for what, forgotten := range map[string]bool{"Redis keeps the jobs in progress": false, "somebody has put them back": true} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := miniredis.NewMiniRedis()
				direct, way := &freezer{m: m}, &freezer{m: m}
				w := setup(t, way.pool(), "known", workexec.Options{})
				w.Ctx = t.Context()
				open := make(chan struct{})
				var log lines
				r := w.serveWith(w.Registry(func(context.Context, string) error {
					<-open
					return nil
				}), workexec.WorkerOptions{Concurrency: 20, Logger: log.logger()})
				w.Must(w.exec.Execute(w.Ctx, w.Batch(0, 20)...))
				w.Await(20)
				way.set(true)
				close(open)
				time.Sleep(30 * time.Second)
				rdb := w.rdb
				w.rdb = direct.pool()
				if forgotten {
					putEverythingBack(w)
				}
				way.set(false)
				w.Eventually("nothing is left", func() bool { return len(w.jobs("known")) == 0 })
				time.Sleep(time.Minute)
				if n := len(w.Await(0)); n != 20 {
					t.Errorf("%d runs of 20 jobs", n)
				}
				if lost, back := log.count("backend lost"), log.count("backend is back"); lost != 1 || back != 1 {
					t.Errorf("Redis was lost %d times and back %d times, in the log", lost, back)
				}
				w.Must(errors.Join(r.stop(), rdb.Close(), w.rdb.Close()))
				m.Close()
			})
		})
	}
}

// putEverythingBack does what another worker would do with the jobs of one that is dead.
func putEverythingBack(w *testEnv) {
	owners, err := redis.Strings(w.do("HKEYS", "jobs:test.work:lock_info"), nil)
	w.Must(err)
	for _, owner := range owners {
		for {
			moved, err := redis.String(w.do("RPOPLPUSH", "jobs:test.work:"+owner+":inprogress", w.ns+":jobs:test.work"), nil)
			if errors.Is(err, redis.ErrNil) {
				break
			}
			w.Must(err)
			if moved == "" {
				w.Fatal("an empty message")
			}
		}
		w.do("HDEL", "jobs:test.work:lock_info", owner)
	}
}
