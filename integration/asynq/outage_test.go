package asynq_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/conformance/faultproxy"
	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
	"github.com/goairlock/airlock/integration/trial"
	"github.com/goairlock/airlock/worker"
)

// workThroughProxy starts a worker behind a proxy, on a client that does not retry.
func (w *testEnv) workThroughProxy(proxy *faultproxy.Proxy, reg *worker.Registry, opts *asynqexec.WorkerOptions) (stop func() error) {
	w.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: proxy.Addr(), MaxRetries: -1, ReadTimeout: trial.Patience})
	w.Cleanup(func() { _ = rdb.Close() })
	opts.Config.TaskCheckInterval, opts.Config.DelayedTaskCheckInterval = 10*time.Millisecond, 20*time.Millisecond
	return w.runOn(rdb, reg, opts)
}

// Jobs are in hand when the connection breaks, and end before it is back. asynq alone would run each of them again.
func TestAnswersAreRecordedAfterAnOutage(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	w := setup(t, plain(t, m.Addr()), &asynqexec.Options{IDWindow: time.Hour})
	proxy, err := faultproxy.New(m.Addr())
	w.Must(err)
	t.Cleanup(proxy.Close)
	const each = 10
	var log logged
	release := make(chan struct{})
	began, ended := make(chan struct{}, 4*each), make(chan struct{}, 4*each)
	w.workThroughProxy(proxy, w.Registry(func(_ context.Context, arg string) error {
		began <- struct{}{}
		<-release
		ended <- struct{}{}
		return answers[arg].err
	}), &asynqexec.WorkerOptions{Concurrency: 4 * each, Logger: log.logger()})
	for name := range answers {
		for n := range each {
			w.Want("accepted", w.Intent(name, core.ID(fmt.Sprint(name, n)), core.Backoff(core.Fixed(time.Hour)), core.MaxAttempts(3)))
		}
	}
	for range 4 * each {
		trial.Receive(w.Trial, began)
	}
	proxy.Down()
	close(release)
	for range 4 * each {
		trial.Receive(w.Trial, ended)
	}
	w.Eventually("the worker has noticed", func() bool { return log.lines("WARN", "backend lost") == 1 })
	time.Sleep(500 * time.Millisecond) // several tries of each
	w.Must(proxy.Up())
	for name, want := range answers {
		for n := range each {
			id := fmt.Sprint(name, n)
			w.awaitState("default", id, want.state)
			if i := w.info("default", id); i.Retried != want.retried {
				t.Errorf("%s: retried %d times", id, i.Retried)
			}
		}
	}
	w.Want("accepted", w.Intent("done", core.ID("fence")))
	w.awaitState("default", "fence", "completed")
	if n := len(w.Await(4*each + 1)); n != 4*each+1 {
		t.Errorf("%d runs of %d jobs", n, 4*each+1)
	}
	if lost, back := log.lines("WARN", "backend lost"), log.lines("INFO", "backend is back"); lost != 1 || back != 1 {
		t.Errorf("lost is logged %d times, back %d times", lost, back)
	}
	for _, level := range []string{"WARN", "ERROR"} {
		if n := log.lines(level, "asynq: "); n > 1+3*each { // of each retried or archived job asynq has a line
			t.Errorf("asynq logs %d lines of level %s: %s", n, level, log.String())
		}
	}
}

// The first try has recorded the answer and its reply is lost. The second try finds no job, which is no error.
func TestALostReplyToARecordIsNoError(t *testing.T) {
	t.Parallel()
	w := setup(t, embedded(t), nil)
	rdb := w.connect()
	loser := &replyLoser{}
	rdb.AddHook(loser)
	var log logged
	w.runOn(rdb, w.Registry(func(_ context.Context, arg string) error { return answers[arg].err }), &asynqexec.WorkerOptions{
		Concurrency: 4, Logger: log.logger(), Config: asynq.Config{TaskCheckInterval: 10 * time.Millisecond},
	})
	for name, want := range answers {
		w.Want("accepted", w.Intent(name, core.ID(name), core.Backoff(core.Fixed(time.Hour))))
		w.awaitState("default", name, want.state)
	}
	w.Eventually("every reply was lost", func() bool { return loser.count() == len(answers) })
	w.Eventually("the answer is no error", func() bool { return log.lines("INFO", "backend is back") > 0 })
	if n := log.lines("WARN", "Will retry syncing"); n > 0 {
		t.Errorf("%d records failed: %s", n, log.String())
	}
}

// replyLoser loses the first reply to the record of each job.
type replyLoser struct {
	counter
	mu   sync.Mutex
	lost map[string]bool // guarded by mu
}

func (l *replyLoser) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.lost)
}

func (l *replyLoser) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if _, leased := ctx.Deadline(); !leased || err != nil || !strings.HasPrefix(cmd.Name(), "eval") {
			return err
		}
		key := fmt.Sprint(cmd.Args()...)
		for name := range answers {
			l.mu.Lock()
			if strings.Contains(key, name) && !l.lost[name] {
				if l.lost == nil {
					l.lost = map[string]bool{}
				}
				l.lost[name] = true
				err = errors.New("the reply is lost")
			}
			l.mu.Unlock()
		}
		if err != nil {
			cmd.SetErr(err)
		}
		return err
	}
}

// A worker starts without a Redis, works as soon as there is one, and stops without one.
func TestARedisThatIsAwayIsWaitedFor(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	w := setup(t, plain(t, m.Addr()), nil)
	proxy, err := faultproxy.New(m.Addr())
	w.Must(err)
	t.Cleanup(proxy.Close)
	proxy.Down()
	var log logged
	stop := w.workThroughProxy(proxy, w.Registry(trial.Succeed), &asynqexec.WorkerOptions{Logger: log.logger()})
	w.Want("accepted", w.Intent("", core.ID("x")))
	time.Sleep(300 * time.Millisecond)
	if log.lines("WARN", "") != 1 || log.lines("ERROR", "") != 0 {
		t.Errorf("one line for the outage: %s", log.String())
	}
	w.Must(proxy.Up())
	w.awaitState("default", "x", "completed")
	proxy.Down()
	w.Eventually("the second outage is noticed", func() bool { return log.lines("WARN", "backend lost") == 2 })
	w.Must(stop())
}

// An error of Redis or of the connection to it shows no credential of a URL.
func TestNoCredentialIsInAnErrorOrALogLine(t *testing.T) {
	t.Parallel()
	const secret = "redis://user:SECRET@host:1/0"
	rdb := redis.NewClient(&redis.Options{MaxRetries: -1, Addr: "127.0.0.1:1"})
	t.Cleanup(func() { _ = rdb.Close() })
	rdb.AddHook(leaky(secret))
	w := trial.New(t, trial.Patience)
	exec, err := asynqexec.New(rdb, nil)
	w.Must(err)
	for _, intents := range [][]core.Intent{w.Batch(0, 1), w.Batch(0, 2)} {
		err := exec.Execute(t.Context(), intents...)
		if err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("got %v", err)
		}
		for _, o := range core.OutcomesOf(err, intents) {
			if strings.Contains(fmt.Sprint(o.Err), "SECRET") {
				t.Errorf("outcome %v", o.Err)
			}
		}
	}
	if err := exec.CheckServer(t.Context()); err == nil || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("CheckServer: %v", err)
	}
	var log logged
	work, err := asynqexec.NewWorker(rdb, w.Registry(trial.Succeed), &asynqexec.WorkerOptions{Logger: log.logger()})
	w.Must(err)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	w.Must(work.Run(ctx))
	if !strings.Contains(log.String(), "***@host") || strings.Contains(log.String(), "SECRET") {
		t.Errorf("the log says %s", log.String())
	}
}

// leaky fails every command with an error that has a URL in it.
type leaky string

func (l leaky) err() error                                  { return fmt.Errorf("parse %q: invalid port", string(l)) }
func (l leaky) DialHook(next redis.DialHook) redis.DialHook { return next }
func (l leaky) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(_ context.Context, cmd redis.Cmder) error { cmd.SetErr(l.err()); return l.err() }
}
func (l leaky) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(context.Context, []redis.Cmder) error { return l.err() }
}

// silence is a hook that acts like a server that does not answer. limit is how long the client waits for an answer, with all
// its tries.
type silence struct {
	on    atomic.Bool
	limit time.Duration
}

func (s *silence) wait() error {
	if !s.on.Load() {
		return nil
	}
	time.Sleep(s.limit)
	return os.ErrDeadlineExceeded
}

func (s *silence) DialHook(next redis.DialHook) redis.DialHook { return next }

func (s *silence) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if err := s.wait(); err != nil {
			cmd.SetErr(err)
			return err
		}
		return next(ctx, cmd)
	}
}

func (s *silence) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if err := s.wait(); err != nil {
			return err
		}
		return next(ctx, cmds)
	}
}

// Redis is silent when the worker stops. The limit is that of a go-redis client with its defaults.
func TestAWorkerStopsWhileRedisIsSilent(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(w *testEnv) {
		silent := &silence{limit: 13 * time.Second}
		rdb := w.connect()
		rdb.AddHook(silent)
		stop := w.runOn(rdb, w.Registry(trial.Succeed), &slowWorker)
		w.Want("accepted", w.Intent(""))
		w.Await(1)
		// The worker's subscription has its connection: it would wait for one with its lock held, and the clock of a bubble stands
		// still while a goroutine waits for a lock.
		synctest.Wait()
		silent.on.Store(true)
		time.Sleep(2 * time.Minute) // so that everything that looks at Redis waits
		began := time.Now()
		w.Must(stop())
		if took := time.Since(began); took > silent.limit+6*time.Second { // asynq's own pauses are the rest
			t.Errorf("Run returned after %v", took)
		}
		time.Sleep(time.Minute) // the calls that were left behind have ended
	})
}

// A queue whose key is of another type fails at each look. asynq would look again at once.
func TestAWorkerPausesWhenItCannotFetch(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(w *testEnv) {
		w.Must(w.rdb.Set(w.Ctx, "asynq:{default}:pending", "no list", 0).Err())
		c := w.count()
		w.runOn(w.rdb, w.Registry(trial.Succeed), &slowWorker)
		time.Sleep(10 * time.Second)
		if n := c.commands.Load(); n > 500 {
			t.Errorf("%d commands in 10 s", n)
		}
		w.Must(w.rdb.Del(w.Ctx, "asynq:{default}:pending").Err())
		w.Want("accepted", w.Intent(""))
		w.Await(1)
	})
}
