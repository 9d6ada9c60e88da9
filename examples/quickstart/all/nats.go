package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/examples/quickstart/demo"
	natsexec "github.com/goairlock/airlock/executors/nats"
)

func openNATS(ctx context.Context, run *demo.Run) (_ *demo.Queue, err error) {
	var undo cleanup
	defer undo.failed(&err)
	url := run.Options.NATS
	if url == "" {
		var stop func() error
		if url, stop, err = embedNATS(); err != nil {
			return nil, err
		}
		undo.add(stop)
	}
	conn, err := nats.Connect(url)
	if err != nil {
		return nil, err
	}
	undo.add(func() error { conn.Close(); return nil })
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, err
	}
	// A stream of this run's own: a server given with -nats may have been here before.
	stream := run.QueueNames["default"]
	if err := natsexec.EnsureStream(ctx, js, stream, nil); err != nil {
		return nil, err
	}
	undo.add(func() error { return js.DeleteStream(context.WithoutCancel(ctx), stream) })
	exec, err := natsexec.New(ctx, js, stream, nil)
	if err != nil {
		return nil, err
	}
	worker, err := natsexec.NewWorker(js, stream, run.Registry, &natsexec.WorkerOptions{
		Queues: []string{"mail", "warehouse"}, Logger: quiet,
	})
	if err != nil {
		return nil, err
	}
	undo.start(ctx, worker.Run)
	return &demo.Queue{
		Exec: exec.Execute,
		Stop: func(context.Context) error { return undo.run() },
	}, nil
}

// embedNATS starts a server in this process, with its files in a folder that goes with it.
func embedNATS() (url string, stop func() error, err error) {
	dir, err := os.MkdirTemp("", "airlock-quickstart-")
	if err != nil {
		return "", nil, err
	}
	ns, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true,
	})
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	ns.Start()
	stop = func() error {
		ns.Shutdown()
		ns.WaitForShutdown()
		return os.RemoveAll(dir)
	}
	if !ns.ReadyForConnections(time.Minute) {
		return "", nil, errors.Join(errors.New("the embedded NATS server is not ready after a minute"), stop())
	}
	return ns.ClientURL(), stop, nil
}
