package asynq_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/integration/trial"
)

// counter counts what a client is asked to send.
type counter struct{ commands, pipelines atomic.Int64 }

func (c *counter) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (c *counter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { c.commands.Add(1); return next(ctx, cmd) }
}

func (c *counter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { c.pipelines.Add(1); return next(ctx, cmds) }
}

// count starts counting.
func (w *testEnv) count() *counter {
	w.Must(w.rdb.Ping(w.Ctx).Err()) // a new connection sends commands of its own
	c := &counter{}
	w.rdb.AddHook(c)
	return c
}

func (w *testEnv) wantSent(c *counter, commands, pipelines int64) {
	w.Helper()
	if n, p := c.commands.Swap(0), c.pipelines.Swap(0); n != commands || p != pipelines {
		w.Errorf("%d commands and %d pipelines, want %d and %d", n, p, commands, pipelines)
	}
}

func batchIsOnePipeline(w *testEnv) {
	sent := w.count()
	all := w.Batch(0, 2601)
	w.Must(w.exec.Execute(w.Ctx, all[:100]...))
	w.wantSent(sent, 0, 1)
	w.Must(w.exec.Execute(w.Ctx, all[100:]...))
	w.wantSent(sent, 0, 3)
	var want []string
	for i := range 2601 {
		want = append(want, fmt.Sprint(i))
	}
	if got := w.pending("default"); !slices.Equal(got, want) {
		w.Errorf("%d jobs wait, in another order: %v …", len(got), got[:min(len(got), 10)])
	}
}

func oneIntentTakesTheLibrarysRoundTrips(w *testEnv) {
	native := asynq.NewClientFromRedisClient(w.rdb)
	sent := w.count()
	for i := range 3 {
		_, err := native.EnqueueContext(w.Ctx, asynq.NewTask("test.work", []byte(`""`)))
		w.Must(err)
		want := sent.commands.Swap(0)
		w.Must(w.exec.Execute(w.Ctx, w.Intent("")))
		if i > 0 { // the first one of each may find the script cache empty
			w.wantSent(sent, want, 0)
		}
		sent.commands.Store(0)
	}
	w.Must(w.exec.Execute(w.Ctx, w.Intent("", core.Unique("first"))))
	sent.commands.Store(0)
	w.Must(w.exec.Execute(w.Ctx, w.Intent("", core.Unique("second"))))
	w.wantSent(sent, 1, 0)
}

func lostScriptCache(w *testEnv) {
	for n, opts := range [][]core.Option{nil, {core.Queue("mail")}, {core.Delay(time.Hour)}} {
		w.Must(w.exec.Execute(w.Ctx, w.Batch(0, 10, opts...)...)) // the scripts are known here now
		w.Must(w.rdb.ScriptFlush(w.Ctx).Err())
		sent := w.count()
		w.Must(w.exec.Execute(w.Ctx, w.Batch(0, 10, opts...)...))
		w.wantSent(sent, 0, 1)
		w.Must(w.rdb.ScriptFlush(w.Ctx).Err())
		w.Must(w.exec.Execute(w.Ctx, w.Intent("alone", opts...)))
		unique := append(slices.Clone(opts), core.Unique(fmt.Sprint(n)))
		w.Must(w.rdb.ScriptFlush(w.Ctx).Err())
		w.Must(w.exec.Execute(w.Ctx, w.Intent("alone", unique...)))
	}
	// Lost between two commands of a pipeline.
	w.rdb.AddHook(&flusher{w: w})
	intents := w.Batch(0, 10, core.Queue("lost"))
	w.Must(w.exec.Execute(w.Ctx, intents...))
	if got := w.pending("lost"); len(got) != 10 {
		w.Errorf("%d jobs wait, want 10", len(got))
	}
}

// flusher turns the first script of the next pipeline into one that nobody knows.
type flusher struct {
	counter
	w    *testEnv
	done bool
}

func (f *flusher) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if f.done {
			return next(ctx, cmds)
		}
		f.done = true
		for _, cmd := range cmds {
			if cmd.Name() == "eval" {
				cmd.Args()[0], cmd.Args()[1] = "evalsha", strings.Repeat("0", 40)
			}
		}
		f.w.Must(f.w.rdb.ScriptFlush(ctx).Err())
		return next(ctx, cmds)
	}
}

func queuesAreAnnouncedAgain(w *testEnv) {
	w.Must(w.exec.Execute(w.Ctx, w.Batch(0, 2, core.Queue("mail"))...))
	w.Must(w.rdb.Del(w.Ctx, "asynq:queues").Err())
	w.Must(w.exec.Execute(w.Ctx, w.Batch(0, 2, core.Queue("mail"))...))
	queues, err := w.inspector().Queues()
	w.Must(err)
	if !slices.Equal(queues, []string{"mail"}) {
		w.Errorf("queues %v", queues)
	}
}

func batchOfManyQueues(w *testEnv) {
	const queues, each = 12, 20
	var intents []core.Intent
	for n := range queues * each {
		intents = append(intents, w.Intent(fmt.Sprint(n/queues), core.Queue(fmt.Sprintf("q%d", n%queues))))
	}
	sent := w.count()
	w.Must(w.exec.Execute(w.Ctx, intents...))
	w.wantSent(sent, 0, 1)
	for q := range queues {
		got := w.pending(fmt.Sprintf("q%d", q))
		if len(got) != each || !slices.IsSortedFunc(got, func(a, b string) int { return len(a) - len(b) }) {
			w.Errorf("queue %d has %v", q, got)
		}
	}
}

func outcomesAreReported(w *testEnv) {
	w.Want("accepted, accepted, duplicate, accepted, duplicate, accepted",
		w.Intent("a", core.ID("x")), w.Intent("b", core.Unique("k")), w.Intent("c", core.ID("x")),
		w.Intent("d"), w.Intent("e", core.Unique("k")), w.Intent("f", core.Delay(time.Hour)))
	_, err := w.States(w.Intent("a", core.ID("x")))
	if !errors.Is(err, core.ErrDuplicate) {
		w.Errorf("error %v", err)
	}
	_, err = w.States(w.Intent("b", core.Unique("k")), w.Intent("z"))
	if !errors.Is(err, core.ErrDuplicate) {
		w.Errorf("error %v", err)
	}
	if got := w.pending("default"); !slices.Equal(got, []string{"a", "b", "d", "z"}) {
		w.Errorf("waiting: %v", got)
	}
}

func sameIntentAgain(w *testEnv) {
	generated, chosen := w.Intent("a"), w.Intent("b", core.ID("x"))
	w.Want("accepted", generated)
	w.Want("accepted", generated)
	w.Want("accepted", chosen)
	w.Want("duplicate", chosen)
	w.Want("accepted, duplicate", generated, chosen)
	fresh := w.Intent("c")
	w.Want("accepted, accepted", fresh, fresh)
	if got := w.pending("default"); !slices.Equal(got, []string{"a", "b", "c"}) {
		w.Errorf("waiting: %v", got)
	}
}

func doneContextSendsNothing(w *testEnv) {
	sent := w.count()
	trial.DoneContextIsRefused(w.Trial)
	w.wantSent(sent, 0, 0)
}
