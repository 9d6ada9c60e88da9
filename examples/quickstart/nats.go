package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/core"
	natsexec "github.com/goairlock/airlock/executors/nats"
)

var natsExecutor = executor{
	name:  "nats",
	about: "NATS JetStream, embedded or at -nats",
	flags: func(fs *flag.FlagSet) {
		fs.String("nats", "", "`URL` of a NATS server with JetStream for -executor nats (default: an embedded one)")
	},
	open: openNATS,
}

func openNATS(ctx context.Context, reg *core.Registry) (_ *queue, err error) {
	var ends []func() error
	closeAll := func() error {
		var errs []error
		for i := len(ends) - 1; i >= 0; i-- {
			errs = append(errs, ends[i]())
		}
		return errors.Join(errs...)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, closeAll())
		}
	}()
	url := flagOf(ctx, "nats")
	if url == "" {
		var stop func() error
		if url, stop, err = embedNATS(); err != nil {
			return nil, err
		}
		ends = append(ends, stop)
	}
	conn, err := nats.Connect(url)
	if err != nil {
		return nil, err
	}
	ends = append(ends, func() error { conn.Close(); return nil })
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, err
	}
	// A stream of this run's own: a server given with -nats may have been here before.
	stream := fmt.Sprintf("QUICKSTART-%d", time.Now().UnixNano())
	if err := natsexec.EnsureStream(ctx, js, stream, nil); err != nil {
		return nil, err
	}
	ends = append(ends, func() error { return js.DeleteStream(context.WithoutCancel(ctx), stream) })
	exec, err := natsexec.New(ctx, js, stream, nil)
	if err != nil {
		return nil, err
	}
	worker, err := natsexec.NewWorker(js, stream, reg, &natsexec.Options{
		Queues: []string{"mail", "warehouse"}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	stopped := make(chan error, 1)
	go func() { stopped <- worker.Run(running) }()
	ends = append(ends, func() error { stop(); return <-stopped })
	return &queue{
		exec: exec.Execute,
		late: 10 * time.Second,
		stop: func(context.Context) error { return closeAll() },
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
