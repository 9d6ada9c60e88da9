package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	natsexec "github.com/goairlock/airlock/executors/nats"
	"github.com/goairlock/airlock/worker"
)

// natsWorkers compares a worker of ours with the client's Consume, with one goroutine
// for each slot and DoubleAck for each job.
func natsWorkers() WorkerGroup {
	return WorkerGroup{Name: "worker-nats", Queue: "nats", Title: "Workers of NATS JetStream, one replica in a file", Libraries: natsLibraries, Setup: setupNATSWorkers}
}

// setupNATSWorkers makes workers that work one stream and one consumer in turn, which ours
// creates.
func setupNATSWorkers(ctx context.Context, w *world) ([]WorkerContender, error) {
	var js [3]jetstream.JetStream
	if err := w.jetStreams(ctx, js[:]); err != nil {
		return nil, err
	}
	if err := natsexec.EnsureStream(ctx, js[0], benchStream, nil); err != nil {
		return nil, err
	}
	stream, err := js[0].Stream(ctx, benchStream)
	if err != nil {
		return nil, err
	}
	if err := stream.Purge(ctx); err != nil {
		return nil, err
	}
	exec, err := natsexec.New(ctx, js[0], benchStream, nil)
	if err != nil {
		return nil, err
	}
	fill := func(ctx context.Context, n int) error {
		intents, err := makeIntents(n)
		if err != nil {
			return err
		}
		return exec.Execute(ctx, intents...)
	}
	left := func(ctx context.Context) (int, error) {
		info, err := stream.Info(ctx)
		if err != nil {
			return 0, err
		}
		return int(info.State.Msgs), nil
	}
	ours := func(ctx context.Context, slots int, handle func()) (func() error, error) {
		reg, err := worker.NewRegistry(worker.Handle(benchTask, func(context.Context, benchArgs) error { handle(); return nil }))
		if err != nil {
			return nil, err
		}
		w, err := natsexec.NewWorker(js[1], benchStream, reg, &natsexec.WorkerOptions{Concurrency: slots, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			return nil, err
		}
		return running(ctx, w.Run), nil
	}
	ran := make(chan struct{})
	stop, err := ours(ctx, 1, func() { close(ran) }) // creates the consumer for all
	if err != nil {
		return nil, err
	}
	if err := errors.Join(fill(ctx, 1), await(ctx, ran), stop()); err != nil {
		return nil, err
	}
	own := func(ctx context.Context, slots int, handle func()) (func() error, error) {
		return consume(ctx, js[2], slots, handle)
	}
	return []WorkerContender{
		{Name: "Consume and DoubleAck", Reference: true, Fill: fill, Start: own, Left: left},
		{Name: "airlock", Fill: fill, Start: ours, Left: left},
	}, nil
}

// running runs a worker until stop is called.
func running(ctx context.Context, run func(context.Context) error) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	return func() error { cancel(); return <-ended }
}

// consume is what a program would write with the client alone.
func consume(ctx context.Context, js jetstream.JetStream, slots int, handle func()) (stop func() error, err error) {
	consumer, err := js.Consumer(ctx, benchStream, "default")
	if err != nil {
		return nil, err
	}
	free := make(chan struct{}, slots)
	var running sync.WaitGroup
	consuming, err := consumer.Consume(func(m jetstream.Msg) {
		free <- struct{}{}
		running.Go(func() {
			defer func() { <-free }()
			var args benchArgs
			if json.Unmarshal(m.Data(), &args) != nil {
				m.Term() //nolint:errcheck // the benchmark finds it among what is left
				return
			}
			handle()
			m.DoubleAck(ctx) //nolint:errcheck // the benchmark finds it among what is left
		})
	})
	if err != nil {
		return nil, err
	}
	return func() error {
		consuming.Drain()
		<-consuming.Closed()
		running.Wait()
		return nil
	}, nil
}
