// Worker runs the jobs of the order service, and the relay of its outbox.
package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/goairlock/airlock/examples/service"
	"github.com/goairlock/airlock/examples/service/queue"
	"github.com/goairlock/airlock/examples/service/web"
)

func main() {
	name := flag.String("queue", "river", "the queue: "+queue.Names())
	addr := flag.String("addr", "127.0.0.1:8081", "the address of /healthz and /readyz")
	level := flag.String("log", "info", "the level of the log: debug, info, warn or error")
	flag.Parse()
	var l slog.Level
	if err := l.UnmarshalText([]byte(*level)); err != nil {
		slog.Error("flag", "error", err)
		os.Exit(2)
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: l}))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *name, *addr, log); err != nil {
		log.Error("worker", "error", err)
		os.Exit(1)
	}
}

// run ends when the first of its parts does. Jobs drain before clients are closed.
func run(ctx context.Context, name, addr string, log *slog.Logger) (err error) {
	p, err := service.Open(ctx, service.Config{
		DatabaseURL: os.Getenv("DATABASE_URL"), Queue: name, QueueURL: os.Getenv("QUEUE_URL"), Logger: log,
	})
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		err = errors.Join(err, p.Close(ctx))
	}()
	jobs, relay, err := p.Workers()
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	web.Health(mux, p.Ready)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	parts := []func(context.Context) error{
		jobs.Run, relay.Run, func(ctx context.Context) error { return web.Serve(ctx, addr, mux, time.Second) },
	}
	errs := make([]error, len(parts))
	var all sync.WaitGroup
	for i, part := range parts {
		all.Go(func() {
			errs[i] = part(ctx)
			cancel()
		})
	}
	log.Info("worker works", "queue", name, "health", addr)
	all.Wait()
	return errors.Join(errs...)
}
