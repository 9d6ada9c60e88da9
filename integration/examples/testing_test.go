package examples

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/airlocktest"
	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
)

func Checkout(ctx context.Context, order, card string, opts ...core.Option) error {
	if err := airlock.Enqueue(ctx, SyncStock, order, opts...); err != nil {
		return err
	}
	if card == "declined" {
		return errors.New("card declined")
	}
	return nil
}

func TestARefusedCheckoutSendsNothing(t *testing.T) {
	t.Parallel()
	var rec airlocktest.Recorder
	err := airlock.Run(t.Context(), rec.Execute, func(ctx context.Context) error { return Checkout(ctx, "A-1", "declined") })
	if err == nil {
		t.Error("a declined card was accepted")
	}
	airlocktest.RequireNothingDispatched(t, &rec)
}

// recorderLikeTheQueue returns a recorder that refuses what the queue refuses.
func recorderLikeTheQueue(t *testing.T) *airlocktest.Recorder {
	rdb := redis.NewClient(&redis.Options{}) // it does not connect before it is used
	defer rdb.Close()
	queue, err := asynqexec.New(rdb, nil)
	if err != nil {
		t.Fatal(err)
	}
	caps, _ := core.Executor(queue.Execute).Capabilities()
	rec := new(airlocktest.Recorder)
	rec.Act(caps)
	return rec
}

func TestARecorderRefusesWhatTheQueueRefuses(t *testing.T) {
	t.Parallel()
	rec := recorderLikeTheQueue(t)
	err := airlock.Run(t.Context(), rec.Execute, func(ctx context.Context) error {
		return Checkout(ctx, "A-1", "good", core.Priority(8)) // asynq without lanes
	})
	var refused *core.OptionError
	if !errors.As(err, &refused) || refused.Executor != "asynq" || refused.Option != core.OptionPriority {
		t.Errorf("got %v, want asynq's refusal of the priority", err)
	}
	airlocktest.RequireNothingDispatched(t, rec)
}

// The context of a worker, on the page about workers.
func Example_signals() {
	work := func(ctx context.Context) error { return nil }
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	_ = work(ctx)
	// Output:
}
