// Api serves the HTTP API of the order service.
package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/goairlock/airlock/examples/service"
	"github.com/goairlock/airlock/examples/service/queue"
	"github.com/goairlock/airlock/examples/service/web"
)

func main() {
	name := flag.String("queue", "river", "the queue: "+queue.Names())
	addr := flag.String("addr", "127.0.0.1:8080", "the address to listen on")
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
		log.Error("api", "error", err)
		os.Exit(1)
	}
}

// run ends in this order: requests, the dispatch of what they have committed, clients.
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
	log.Info("api listens", "addr", addr, "queue", name)
	return web.Serve(ctx, addr, web.API(p.Orders, p.Ready, log), 20*time.Second)
}
