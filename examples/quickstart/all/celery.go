package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/examples/quickstart/demo"
	"github.com/goairlock/airlock/examples/quickstart/shop"
	celeryexec "github.com/goairlock/airlock/executors/celery"
	"github.com/goairlock/airlock/worker"
)

// done is how the workers in Python report a job. See demo/staff.py.
type done struct {
	Job     string  `json:"job"`
	Task    string  `json:"task"`
	Order   string  `json:"order"`
	Started float64 `json:"started"` // seconds since 1970
	Text    string  `json:"text"`
}

var jobDone = core.DeclareTask[done]("shop.done", core.Queue("default"))

// celeryQueues are the queues of the workers in Python.
var celeryQueues = map[string]string{"mail": "quickstart.mail", "warehouse": "quickstart.warehouse"}

func openCelery(ctx context.Context, run *demo.Run) (_ *demo.Queue, err error) {
	var undo cleanup
	defer undo.failed(&err)
	open := celeryOnRedis
	if run.Options.CeleryBroker() == "rabbitmq" {
		open = celeryOnRabbitMQ
	}
	// A worker in Go, on a queue of this run alone, hears what has been done.
	reports := run.QueueNames["default"]
	reg, err := worker.NewRegistry(worker.Handle(jobDone, func(ctx context.Context, d done) error { return note(ctx, run, d) }))
	if err != nil {
		return nil, err
	}
	broker, err := open(run.Options.Celery, reports, reg, &undo)
	if err != nil {
		return nil, err
	}
	switch err := broker.exec.CheckServer(ctx, "mail", "warehouse"); {
	case errors.Is(err, core.ErrUnavailable):
		return nil, fmt.Errorf("-celery: %w", err)
	case err != nil:
		return nil, fmt.Errorf("-celery: %w (-show prints the file of the workers)", err)
	}
	if err := broker.declare(); err != nil {
		return nil, fmt.Errorf("-celery: %w", err)
	}
	undo.add(func() error { return broker.remove(context.WithoutCancel(ctx)) })
	undo.start(ctx, broker.hears.Run)
	return &demo.Queue{
		Exec: compose.WithHeaders(broker.exec.Execute, func(context.Context) map[string]string {
			return map[string]string{"Report-To": reports}
		}),
		// Celery does not recognise IDs, and the attempts are the Python task's.
		Drops: []core.OptionName{core.OptionID, core.OptionMaxAttempts},
		Stop:  func(context.Context) error { return undo.run() },
	}, nil
}

// celeryBroker is the broker of the workers in Python.
type celeryBroker struct {
	exec    *celeryexec.Executor
	hears   *celeryexec.Worker              // works the queue of reports
	declare func() error                    // makes that queue
	remove  func(ctx context.Context) error // leaves somebody's broker as it was
}

func celeryOnRedis(url, reports string, reg *worker.Registry, undo *cleanup) (b celeryBroker, err error) {
	opts, err := parseRedis("celery", url)
	if err != nil {
		return b, err
	}
	opts.MaxRetries = -1 // then an error says whether a job may be stored
	rdb := redis.NewClient(opts)
	undo.add(rdb.Close)
	b.declare = func() error { return nil }
	b.remove = func(ctx context.Context) error { return rdb.Del(ctx, reports, "_kombu.binding."+reports).Err() }
	if b.exec, err = celeryexec.New(rdb, &celeryexec.Options{QueueNames: celeryQueues}); err != nil {
		return b, err
	}
	b.hears, err = celeryexec.NewWorker(rdb, reg, hearing(reports))
	return b, err
}

func celeryOnRabbitMQ(url, reports string, reg *worker.Registry, undo *cleanup) (b celeryBroker, err error) {
	dial := func(context.Context) (*amqp.Connection, error) { return amqp.Dial(url) }
	b.declare = func() error {
		return onChannel(dial, func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare(reports, true, false, false, false, nil) // as Celery does
			return err
		})
	}
	b.remove = func(context.Context) error {
		return onChannel(dial, func(ch *amqp.Channel) error {
			_, queue := ch.QueueDelete(reports, false, false, false)
			_, dead := ch.QueueDelete(celeryexec.DeadQueue(reports), false, false, false)
			exchange := ch.ExchangeDelete(reports, false, false) // Celery has declared it
			return errors.Join(queue, dead, exchange)
		})
	}
	if b.exec, err = celeryexec.NewAMQP(dial, &celeryexec.Options{QueueNames: celeryQueues}); err != nil {
		return b, err
	}
	undo.add(b.exec.Close)
	b.hears, err = celeryexec.NewAMQPWorker(dial, reg, hearing(reports))
	return b, err
}

// hearing are the options of the worker for the queue of reports.
func hearing(reports string) *celeryexec.WorkerOptions {
	return &celeryexec.WorkerOptions{QueueNames: map[string]string{"default": reports}, Queues: []string{"default"}, Logger: quiet}
}

// onChannel calls fn with a channel of a new connection.
func onChannel(dial celeryexec.Dial, fn func(*amqp.Channel) error) error {
	conn, err := dial(context.Background())
	if err != nil {
		return err
	}
	channel, err := conn.Channel()
	if err == nil {
		err = fn(channel)
	}
	return errors.Join(err, conn.Close())
}

// note prints what a worker in Python has done, and asks for the label of an order that
// it has picked.
func note(ctx context.Context, run *demo.Run, d done) error {
	fmt.Fprintf(run.Out, "  %-16s order %s: %s (in Python)\n", d.Task, d.Order, d.Text)
	if d.Task == shop.PickOrder.Name() {
		label := func(ctx context.Context) error {
			return airlock.Enqueue(ctx, shop.PrintLabel, shop.Label{Order: d.Order})
		}
		if err := airlock.Run(ctx, run.Ledger.Execute, label, run.Ledger.Enqueues()); err != nil {
			return err
		}
	}
	seconds, fraction := math.Modf(d.Started)
	run.Ledger.Ran(d.Job, time.Unix(int64(seconds), int64(fraction*1e9)))
	return nil
}
