package asynqexec

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/core"
)

// fakeRedis notes what asynq calls. A method that it does not have panics, since the
// embedded interface is nil.
type fakeRedis struct {
	redis.UniversalClient
	calls []string
	keys  []string
	args  []any
	warm  bool
}

func (f *fakeRedis) SAdd(_ context.Context, key string, members ...any) *redis.IntCmd {
	f.calls = append(f.calls, fmt.Sprint("SADD ", key, members))
	return redis.NewIntResult(1, nil)
}

func (f *fakeRedis) EvalSha(_ context.Context, _ string, keys []string, args ...any) *redis.Cmd {
	f.calls, f.keys, f.args = append(f.calls, "EVALSHA"), keys, args
	if !f.warm {
		return redis.NewCmdResult(nil, noScript{})
	}
	return redis.NewCmdResult(int64(1), nil)
}

func (f *fakeRedis) Eval(_ context.Context, _ string, keys []string, args ...any) *redis.Cmd {
	f.calls, f.keys, f.args = append(f.calls, "EVAL"), keys, args
	return redis.NewCmdResult(int64(1), nil)
}

// clientInterceptor depends on how asynq v0.26.0 enqueues. A version that does it
// in another way must fail here.
func TestEnqueuingIsOneScript(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]asynq.Option{
		"at once":  nil,
		"delayed":  {asynq.ProcessIn(time.Hour)},
		"in group": {asynq.Group("g")},
	} {
		f := &fakeRedis{}
		client := asynq.NewClientFromRedisClient(f)
		for _, want := range []string{"SADD asynq:queues[mail] EVALSHA EVAL", "EVALSHA EVAL"} {
			f.calls = nil
			task := asynq.NewTask("test.work", []byte("x"), append(opts, asynq.Queue("mail"), asynq.TaskID("id"))...)
			if _, err := client.EnqueueContext(t.Context(), task); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(f.calls, " "); got != want {
				t.Errorf("%s: asynq calls %s, want %s", name, got, want)
			}
			if f.keys[0] != taskKey("mail", "id") {
				t.Errorf("%s: the first key is %s, want the task's", name, f.keys[0])
			}
			for _, key := range f.keys {
				if !strings.HasPrefix(key, "asynq:{mail}:") {
					t.Errorf("%s: key %s is in another hash slot", name, key)
				}
			}
		}
	}
}

func TestAnUnknownWayOfEnqueuingIsAnError(t *testing.T) {
	t.Parallel()
	g := &guard{task: taskKey("mail", "id")}
	if g.check([]string{"asynq:v2:{mail}:t:id"}) == nil || g.check(nil) == nil {
		t.Error("the guard takes any key for the task's")
	}
	e, err := New(&fakeRedis{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	in, err := core.DeclareTask[int]("test.work").Intent(1)
	if err != nil {
		t.Fatal(err)
	}
	if state, err := e.outcomeOf(t.Context(), &in, reply{}); state != core.Unknown || err == nil {
		t.Errorf("a script that was never called: %v, %v", state, err)
	}
}

func TestOneIntentPassesThroughAsTheLibraryWouldSendIt(t *testing.T) {
	t.Parallel()
	f := &fakeRedis{warm: true}
	e, err := New(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	task := core.DeclareTask[int]("test.work")
	for _, want := range []string{"SADD asynq:queues[default] EVALSHA", "EVALSHA"} {
		f.calls = nil
		in, err := task.Intent(1)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Execute(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(f.calls, " "); got != want {
			t.Errorf("sent %s, want %s", got, want)
		}
	}
}

func TestOneIntentAllocatesLittleMoreThanTheLibrary(t *testing.T) {
	f := &fakeRedis{warm: true}
	e, err := New(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	in, err := core.DeclareTask[int]("test.work", core.Header("Trace", "t1"), core.Timeout(time.Minute)).Intent(1)
	if err != nil {
		t.Fatal(err)
	}
	client, ctx := asynq.NewClientFromRedisClient(f), t.Context()
	library := testing.AllocsPerRun(200, func() {
		f.calls = f.calls[:0]
		task := asynq.NewTaskWithHeaders("test.work", in.Payload(), map[string]string{
			"Trace": "t1", envelopeHeader: `{"v":1,"max_attempts":25,"timeout":"1m0s"}`,
		})
		if _, err := client.EnqueueContext(ctx, task, asynq.TaskID(in.ID), noTimeout, asynq.MaxRetry(25), asynq.Queue("default"), asynq.Retention(time.Minute)); err != nil {
			t.Fatal(err)
		}
	})
	own := testing.AllocsPerRun(200, func() {
		f.calls = f.calls[:0]
		if err := e.Execute(ctx, in); err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("%v allocations, the library %v", own, library)
	if own > library+6 { // three of them encode the envelope
		t.Errorf("%v allocations, want at most 6 more than the library's %v", own, library)
	}
}
