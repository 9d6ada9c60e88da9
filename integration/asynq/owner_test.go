package asynq_test

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/integration/trial"
	"github.com/goairlock/airlock/worker"
)

// gate is a hook that holds the commands of a client back while it is closed, as if the process were frozen.
type gate struct {
	mu   sync.Mutex
	open chan struct{} // guarded by mu; closed while commands may pass
}

func newGate() *gate {
	g := &gate{open: make(chan struct{})}
	close(g.open)
	return g
}

func (g *gate) freeze() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = make(chan struct{})
}

// thaw lets the commands pass again. It may be called twice.
func (g *gate) thaw() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.open:
	default:
		close(g.open)
	}
}

func (g *gate) wait() {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	<-open
}

func (g *gate) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (g *gate) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { g.wait(); return next(ctx, cmd) }
}

func (g *gate) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { g.wait(); return next(ctx, cmds) }
}

// A worker is frozen beyond its lease, another one takes the job and ends it, and then the first one answers.
func TestAStaleOwnerDoesNotDecide(t *testing.T) {
	t.Parallel()
	for first, answer := range answers {
		for second, end := range map[string]error{"done": nil, "dead": worker.Permanent(trial.ErrDeclined)} {
			t.Run(first+" after "+second, func(t *testing.T) {
				t.Parallel()
				inBubble(t, nil, func(w *testEnv) {
					frozen := newGate()
					rdb := w.connect()
					rdb.AddHook(frozen)
					wake := make(chan struct{})
					var log logged
					o := slowWorker
					o.Logger = log.logger()
					stopStale := w.runOn(rdb, w.Registry(func(context.Context, string) error { <-wake; return answer.err }), &o)
					w.Want("accepted", w.Intent("", core.ID("x"), core.Backoff(core.Fixed(time.Second)), core.MaxAttempts(5)))
					w.Await(1)
					frozen.freeze()
					o = slowWorker
					o.Logger = slog.New(slog.DiscardHandler)
					w.runOn(w.connect(), w.Registry(func(context.Context, string) error { return end }), &o)
					w.Await(2)
					state := map[string]string{"done": "completed", "dead": "archived"}[second]
					w.awaitState("default", "x", state)
					frozen.thaw()
					close(wake)
					time.Sleep(time.Minute)
					if got := w.state("default", "x"); got != state {
						t.Errorf("the job is %s", got)
					}
					if n := len(w.Await(2)); n != 2 {
						t.Errorf("%d runs", n)
					}
					w.Must(stopStale())
				})
			})
		}
	}
}
