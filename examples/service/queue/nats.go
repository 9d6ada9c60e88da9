package queue

import (
	"context"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	natsexec "github.com/goairlock/airlock/executors/nats"
	"github.com/goairlock/airlock/worker"
)

const stream = "ORDERS"

func openNATS(ctx context.Context, c Config) (*Queue, error) {
	conn, err := nats.Connect(c.URL, nats.Name("orders"), nats.MaxReconnects(-1))
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(conn)
	if err == nil {
		err = natsexec.EnsureStream(ctx, js, stream, nil)
	}
	var exec *natsexec.Executor
	if err == nil {
		exec, err = natsexec.New(ctx, js, stream, &natsexec.Options{Logger: c.Logger})
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &Queue{
		Executor: exec.Execute, Check: exec.CheckServer, close: []func(){conn.Close},
		Worker: func(reg *worker.Registry, queues []string) (Runner, error) {
			return natsexec.NewWorker(js, stream, reg, &natsexec.WorkerOptions{Queues: queues, Logger: c.Logger})
		},
	}, nil
}
