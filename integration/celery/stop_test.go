//go:build realservers

package celery_test

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	celeryexec "github.com/goairlock/airlock/executors/celery"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/worker"
)

// slowCall holds the answer of a call for which armed is true, and closes held.
type slowCall struct {
	armed   func(redis.Cmder) bool
	held    chan struct{}
	proceed chan struct{}
}

func (s *slowCall) DialHook(next redis.DialHook) redis.DialHook { return next }

func (s *slowCall) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (s *slowCall) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if s.armed(cmd) {
			close(s.held)
			<-s.proceed
		}
		return err
	}
}

// A job whose time has come, and whose run was counted just when the worker began to
// stop, goes back without that run. Otherwise another worker would get it only after the
// visibility timeout, with one attempt fewer.
func TestAJobThatWasAboutToBeginGoesBackWhenTheWorkerStops(t *testing.T) {
	t.Parallel()
	server := servers.Redis(t, servers.RedisOptions{Private: true})
	direct, rdb := client(t, server.Addr(), nil), client(t, server.Addr(), nil)
	counter := prefix + "airlock.run.tag-due.celery"
	var once atomic.Bool
	slow := &slowCall{held: make(chan struct{}), proceed: make(chan struct{}), armed: func(cmd redis.Cmder) bool {
		return direct.Exists(context.Background(), counter).Val() > 0 && once.CompareAndSwap(false, true)
	}}
	rdb.AddHook(slow)
	due := time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)
	list := prefix + "celery"
	if err := direct.LPush(t.Context(), list, message("test.task", []byte("1"), map[string]any{"id": "due", "eta": due})).Err(); err != nil {
		t.Fatal(err)
	}
	stop := work(t, rdb, celeryexec.WorkerOptions{}, func(context.Context, worker.Job, json.RawMessage) error {
		t.Error("the job ran")
		return nil
	})
	<-slow.held
	time.AfterFunc(200*time.Millisecond, func() { close(slow.proceed) })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if n := direct.LLen(t.Context(), list).Val(); n != 1 {
		t.Fatalf("%d jobs wait after the stop, want 1", n)
	}
	attempts := make(chan int, 1)
	work(t, direct, celeryexec.WorkerOptions{}, func(_ context.Context, job worker.Job, _ json.RawMessage) error {
		attempts <- job.Attempt
		return nil
	})
	if attempt := receive(t, attempts); attempt != 1 {
		t.Errorf("attempt %d, want 1", attempt)
	}
}
