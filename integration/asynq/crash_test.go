package asynq_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/integration/trial"
	"github.com/goairlock/airlock/worker"
)

// cable is a hook between a client and its Redis. Once it is cut, commands are not sent and get no answer, as after a crash.
type cable struct {
	gone chan struct{} // closed to let go of the commands that have no answer

	mu     sync.RWMutex // held by commands under way
	broken bool         // guarded by mu
}

func newCable() *cable { return &cable{gone: make(chan struct{})} }

var errCut = errors.New("the process has crashed")

// cut cuts the cable and returns when no command is under way.
func (c *cable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = true
}

// letGo lets the commands without an answer fail, so that the worker can end: its process has not really crashed.
func (c *cable) letGo() { close(c.gone) }

// inCommand is the context key of commands that are part of another one, such as HELLO on the connection that it dials.
type inCommand struct{}

// pass sends a command, or blocks until letGo if the cable is cut. A part of a command passes with it: a second RLock would wait
// for cut, which waits for the first.
func (c *cable) pass(ctx context.Context, send func(context.Context) error) error {
	if ctx.Value(inCommand{}) != nil {
		return send(ctx)
	}
	c.mu.RLock()
	broken := c.broken
	if !broken {
		defer c.mu.RUnlock()
		return send(context.WithValue(ctx, inCommand{}, true))
	}
	c.mu.RUnlock()
	<-c.gone
	return errCut
}

func (c *cable) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (c *cable) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := c.pass(ctx, func(ctx context.Context) error { return next(ctx, cmd) })
		if errors.Is(err, errCut) {
			cmd.SetErr(err)
		}
		return err
	}
}

func (c *cable) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		return c.pass(ctx, func(ctx context.Context) error { return next(ctx, cmds) })
	}
}

// expireLeases ends the leases of dead workers. Otherwise they last 30 seconds, and asynq allows 30 more for clocks.
func expireLeases(ctx context.Context, rdb redis.UniversalClient, queues map[string]int) error {
	for queue := range queues {
		key := "asynq:{" + queue + "}:lease"
		ids, err := rdb.ZRange(ctx, key, 0, -1).Result()
		if err != nil {
			return err
		}
		for _, id := range ids {
			if err := rdb.ZAddXX(ctx, key, redis.Z{Score: 1, Member: id}).Err(); err != nil {
				return err
			}
		}
	}
	return nil
}

// childRedis names the Redis of a worker process that is to be killed.
const childRedis = "AIRLOCK_ASYNQ_TEST_REDIS"

// TestChildWorker is the program of a worker process, and does nothing as a test.
func TestChildWorker(t *testing.T) {
	addr := os.Getenv(childRedis)
	if addr == "" {
		return
	}
	w := setup(t, plain(t, addr), nil)
	w.serve(func(ctx context.Context, _ string) error {
		job, _ := worker.JobFrom(ctx)
		fmt.Println("began", job.ID)
		select {}
	})
	select {}
}

func TestAJobOfAKilledWorkerRunsAgain(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	w := setup(t, plain(t, m.Addr()), nil)
	in := w.Intent("cut off", core.Backoff(core.Fixed(time.Millisecond)), core.Unique("k"))
	w.Want("accepted", in)

	child := exec.Command(os.Args[0], "-test.run=^TestChildWorker$")
	child.Env = append(os.Environ(), childRedis+"="+m.Addr())
	out, err := child.StdoutPipe()
	w.Must(err)
	w.Must(child.Start())
	defer func() { _ = child.Process.Kill() }()
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "began "+in.ID {
	}
	w.Must(child.Process.Kill())
	_ = child.Wait() // killed, as was asked
	w.Must(lines.Err())

	w.Want("duplicate", w.Intent("another of the key", core.Unique("k"))) // the job is not lost, nor is its key free
	w.Must(expireLeases(w.Ctx, w.rdb, map[string]int{"default": 1}))
	w.serve(trial.Succeed)
	again := w.Await(1)[0]
	if again.Job.ID != in.ID || again.Job.Attempt != 2 || again.Arg != "cut off" {
		t.Errorf("ran %+v", again)
	}
	w.awaitState("default", in.ID, "completed")
	w.Want("accepted", w.Intent("the key is free", core.Unique("k")))
}
