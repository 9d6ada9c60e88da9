package main

import (
	"context"
	"database/sql"
	"errors"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/examples/quickstart/demo"
	rabbitexec "github.com/goairlock/airlock/executors/rabbitmq"
)

func openRabbitMQ(ctx context.Context, run *demo.Run) (_ *demo.Queue, err error) {
	var undo cleanup
	defer undo.failed(&err)
	dial := func(context.Context) (*amqp.Connection, error) { return amqp.Dial(run.Options.RabbitMQ) }
	inbox, err := openInbox(ctx, &undo)
	if err != nil {
		return nil, err
	}
	topology := rabbitexec.Topology{QueueNames: run.QueueNames, Inbox: inbox}
	queues := []string{"mail", "warehouse"}
	undo.add(func() error { return deleteQueues(dial, run.QueueNames) })
	if err := rabbitexec.EnsureQueues(ctx, dial, &topology, queues...); err != nil {
		return nil, err
	}
	exec, err := rabbitexec.New(dial, &rabbitexec.Options{Topology: topology, Logger: quiet})
	if err != nil {
		return nil, err
	}
	undo.add(exec.Close)
	if err := exec.CheckServer(ctx, queues...); err != nil {
		return nil, err
	}
	worker, err := rabbitexec.NewWorker(dial, run.Registry, &rabbitexec.WorkerOptions{Topology: topology, Queues: queues, Logger: quiet})
	if err != nil {
		return nil, err
	}
	undo.start(ctx, worker.Run)
	return &demo.Queue{
		Exec: exec.Execute,
		Stop: func(context.Context) error { return undo.run() },
	}, nil
}

// openInbox makes a table that remembers IDs, which RabbitMQ does not. Executor and
// workers share it, so in a real service it is in their database or Redis.
func openInbox(ctx context.Context, undo *cleanup) (rabbitexec.Inbox, error) {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return nil, err
	}
	undo.add(db.Close)
	db.SetMaxOpenConns(1) // each connection has a memory of its own
	if _, err := db.ExecContext(ctx, rabbitexec.InboxSchema("inbox")); err != nil {
		return nil, err
	}
	return rabbitexec.NewSQLInbox(db, "inbox", "?")
}

// deleteQueues leaves somebody's RabbitMQ as it was, apart from the queues in which
// delayed jobs wait. Those are shared by all queues.
func deleteQueues(dial rabbitexec.Dial, names map[string]string) error {
	conn, err := dial(context.Background())
	if err != nil {
		return err
	}
	channel, err := conn.Channel()
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	var errs []error
	for _, name := range names {
		for _, queue := range []string{name, rabbitexec.DeadQueue(name)} {
			_, err := channel.QueueDelete(queue, false, false, false)
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, conn.Close())...)
}
