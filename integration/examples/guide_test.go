package examples

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/airlocktest"
	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
	poolexec "github.com/goairlock/airlock/executors/pool"
	"github.com/goairlock/airlock/outbox"
	"github.com/goairlock/airlock/worker"
)

var SyncStock = core.DeclareTask[string]("stock.sync")

var ChargeCard = core.DeclareTask[string]("card.charge",
	core.MaxAttempts(5), core.Backoff(core.Exponential(time.Minute, time.Hour)))

// queueCaps are those of a queue with the options of these examples.
var queueCaps = core.Capabilities{Executor: "queue", Options: map[core.OptionName]core.Claim{
	core.OptionMaxAttempts: {Support: core.SupportNative}, core.OptionBackoff: {Support: core.SupportNative},
	core.OptionID: {Support: core.SupportNative}, core.OptionUnique: {Support: core.SupportNative},
}}

// printing is an executor that prints what it gets.
func printing(name string) core.Executor {
	return adapter.Each(queueCaps, func(_ context.Context, in core.Intent) error {
		fmt.Printf("%s: %s %s\n", name, in.Task, in.Payload())
		return nil
	})
}

// failing is an executor that cannot be reached for some calls.
func failing(calls int, then core.Executor) core.Executor {
	return adapter.Guard(queueCaps, func(ctx context.Context, intents ...core.Intent) error {
		if calls--; calls >= 0 {
			return core.ErrUnavailable
		}
		return then(ctx, intents...)
	})
}

// retrying tries to hand over an intent for some seconds, while the caller waits.
func retrying(queue core.Executor) core.Executor {
	return compose.WithRetry(queue, compose.Retry{
		Attempts: 4,
		Backoff:  core.Exponential(50*time.Millisecond, 2*time.Second),
		OnRetry: func(_ context.Context, attempt int, _ time.Duration, err error) {
			fmt.Printf("dispatch %d: not sent: %v\n", attempt, errors.Is(err, core.ErrNotSent))
		},
	})
}

func Example_dispatchRetry() {
	exec := retrying(failing(2, printing("queue")))
	err := airlock.Run(context.Background(), exec, func(ctx context.Context) error {
		return airlock.Enqueue(ctx, ChargeCard, "A-1")
	})
	fmt.Println(err)
	// Output:
	// dispatch 1: not sent: true
	// dispatch 2: not sent: true
	// queue: card.charge "A-1"
	// <nil>
}

// charge returns at the first error. The queue calls it again, up to five times.
func charge(_ context.Context, order string) error {
	switch status := provider(order); status {
	case "declined":
		return worker.Permanent(errors.New("card declined")) // dead at once
	case "busy":
		return worker.Snooze(10 * time.Minute) // later, and no attempt is used
	case "down":
		return errors.New("provider is down") // again after the backoff
	}
	return nil
}

func provider(order string) string { return order }

func Example_jobRetry() {
	reg, err := worker.NewRegistry(worker.Handle(ChargeCard, charge))
	check(err)
	for _, status := range []string{"ok", "down", "busy", "declined"} {
		in, err := ChargeCard.Intent(status)
		check(err)
		verdict := reg.Perform(context.Background(), worker.FirstDelivery(&in))
		fmt.Println(status, verdict.Action, verdict.After)
	}
	// Output:
	// ok done 0s
	// down retry 1m0s
	// busy snoozed 10m0s
	// declined dead 0s
}

// pay charges an order once, as long as the queue remembers the ID.
func pay(ctx context.Context, order string) error {
	return airlock.Enqueue(ctx, ChargeCard, order, core.ID("charge-"+order))
}

// changed syncs an article. While a job of the article waits or runs, it adds none.
func changed(ctx context.Context, article string) error {
	return airlock.Enqueue(ctx, SyncStock, article, core.Unique(article))
}

func Example_identity() {
	handle := func(_ context.Context, args string) error { fmt.Println("run:", args); return nil }
	reg, err := worker.NewRegistry(worker.Handle(ChargeCard, handle), worker.Handle(SyncStock, handle))
	check(err)
	pool, err := poolexec.New(&poolexec.Options{Registry: reg})
	check(err)
	for range 2 {
		check(airlock.Run(context.Background(), pool.Execute, func(ctx context.Context) error { return pay(ctx, "A-1") }))
	}
	check(pool.Stop(context.Background()))
	window := pool.Capabilities().IDWindow
	fmt.Println(window.Kind, window.Count)
	// Output:
	// run: A-1
	// stored 10000
}

func Example_unique() {
	var rec airlocktest.Recorder // a queue whose jobs wait
	for _, article := range []string{"shirt", "shirt", "shoe"} {
		check(airlock.Run(context.Background(), rec.Execute, func(ctx context.Context) error { return changed(ctx, article) }))
	}
	fmt.Println(len(rec.Intents()), "jobs")
	// Output: 2 jobs
}

// businessHours refuses mail at night, where it is enqueued.
func businessHours(now func() time.Time) airlock.Policy {
	return airlock.Policy{
		Name: "businessHours",
		OnEnqueue: func(_ context.Context, in core.Intent) error {
			if h := now().Hour(); in.Task == "email.receipt" && (h < 8 || h >= 18) {
				return errors.New("no mail at night")
			}
			return nil
		},
	}
}

var SendReceipt = core.DeclareTask[string]("email.receipt")

func Example_ownPolicy() {
	night := func() time.Time { return time.Date(2026, 1, 1, 23, 0, 0, 0, time.UTC) }
	err := airlock.Run(context.Background(), printing("queue"), func(ctx context.Context) error {
		return airlock.Enqueue(ctx, SendReceipt, "A-1")
	}, businessHours(night))
	fmt.Println(err)
	// Output: airlock: policy businessHours refuses task email.receipt: no mail at night
}

// backfill runs old code for its data alone.
func backfill(ctx context.Context, importOrder func(context.Context, string) error, orders []string) error {
	ctx = airlock.WithPolicy(ctx, airlock.BlockTasks("email.receipt"))
	for _, order := range orders {
		if err := importOrder(ctx, order); err != nil {
			return err
		}
	}
	return nil
}

func TestABackfillSendsNoMail(t *testing.T) {
	importOrder := func(ctx context.Context, order string) error {
		return errors.Join(airlock.Enqueue(ctx, SendReceipt, order), airlock.Enqueue(ctx, SyncStock, order))
	}
	rec := airlocktest.Run(t, func(ctx context.Context) error {
		return backfill(ctx, importOrder, []string{"A-1", "A-2"})
	})
	airlocktest.RequireNotDispatched(t, rec, SendReceipt, nil)
	airlocktest.RequireDispatched(t, rec, SyncStock, func(article string) bool { return article == "A-2" })
}

// withSpool stores in a local file what the queue could not take, and returns the
// relay that sends it later.
func withSpool(ctx context.Context, queue core.Executor, file *sql.DB) (core.Executor, *outbox.Relay, error) {
	box, err := outbox.New(outbox.SQLite, &outbox.Options{For: queue})
	if err != nil {
		return nil, nil, err
	}
	if err := box.CreateTable(ctx, outbox.SQL(file)); err != nil {
		return nil, nil, err
	}
	relay, err := outbox.NewRelay(box, outbox.SQL(file), queue, nil)
	return compose.WithFallback(queue, box.InTx(outbox.SQL(file))), relay, err
}

func Example_spool() {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	dir, err := os.MkdirTemp("", "spool")
	check(err)
	defer os.RemoveAll(dir)
	file, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "spool.db")+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(10000)")
	check(err)
	defer file.Close()

	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	queue := failing(1, adapter.Each(queueCaps, func(ctx context.Context, in core.Intent) error {
		fmt.Println("queue:", in.Task)
		stop()
		return nil
	}))
	exec, relay, err := withSpool(ctx, queue, file)
	check(err)
	err = airlock.Run(ctx, exec, func(ctx context.Context) error { return airlock.Enqueue(ctx, SendReceipt, "A-1") })
	fmt.Println("dispatched:", err)
	check(relay.Run(ctx)) // in a goroutine, in a real program
	// Output:
	// dispatched: <nil>
	// queue: email.receipt
}

// breaker does not call exec while open says so.
func breaker(exec core.Executor, open func() bool) core.Executor {
	return func(ctx context.Context, intents ...core.Intent) error {
		if len(intents) > 0 && open() { // without intents it is a question, which passes
			return fmt.Errorf("breaker is open: %w", core.ErrUnavailable)
		}
		return exec(ctx, intents...)
	}
}

func Example_breaker() {
	exec := breaker(printing("queue"), func() bool { return true })
	in, err := SendReceipt.Intent("A-1", core.Delay(time.Hour))
	check(err)
	fmt.Println(exec.Check(context.Background(), in))
	in, err = SendReceipt.Intent("A-1")
	check(err)
	err = compose.WithFallback(exec, printing("second"))(context.Background(), in)
	fmt.Println(err)
	// Output:
	// airlock: queue refuses option delay
	// second: email.receipt "A-1"
	// <nil>
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
