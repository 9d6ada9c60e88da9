package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	rabbitexec "github.com/goairlock/airlock/executors/rabbitmq"
	"github.com/goairlock/airlock/worker"
)

// rabbitmqWorkers compares a worker of ours with the client's Consume, with a
// goroutine for each job and as many messages in hand as slots.
func rabbitmqWorkers() WorkerGroup {
	return WorkerGroup{Name: "worker-rabbitmq", Queue: "rabbitmq", Title: "Workers of RabbitMQ, a quorum queue on one node", Libraries: rabbitLibraries, Setup: setupRabbitMQWorkers}
}

func setupRabbitMQWorkers(ctx context.Context, w *world) ([]WorkerContender, error) {
	dial, ch, exec, err := rabbitSetup(ctx, w)
	if err != nil {
		return nil, err
	}
	if _, err := ch.QueuePurge(rabbitQueue, false); err != nil {
		return nil, err
	}
	fill := func(ctx context.Context, n int) error {
		intents, err := makeIntents(n)
		if err != nil {
			return err
		}
		return exec.Execute(ctx, intents...)
	}
	left := func(context.Context) (int, error) {
		q, err := ch.QueueDeclarePassive(rabbitQueue, true, false, false, false, nil)
		return q.Messages, err
	}
	ours := func(ctx context.Context, slots int, handle func()) (func() error, error) {
		reg, err := worker.NewRegistry(worker.Handle(benchTask, func(context.Context, benchArgs) error { handle(); return nil }))
		if err != nil {
			return nil, err
		}
		w, err := rabbitexec.NewWorker(dial, reg, &rabbitexec.WorkerOptions{
			Topology: rabbitTopology, Queues: []string{"default"}, Concurrency: slots, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			return nil, err
		}
		return running(ctx, w.Run), nil
	}
	own := func(ctx context.Context, slots int, handle func()) (func() error, error) {
		return consumeRabbitMQ(ctx, dial, rabbitQueue, slots, decodeArgs, handle)
	}
	return []WorkerContender{
		{Name: "Consume and Ack", Reference: true, Fill: fill, Start: own, Left: left},
		{Name: "airlock", Fill: fill, Start: ours, Left: left},
	}, nil
}

// decodeArgs decodes the arguments of a job of benchTask.
func decodeArgs(body []byte) error {
	var args benchArgs
	return json.Unmarshal(body, &args)
}

// consumeRabbitMQ is what a program would write with the client alone.
func consumeRabbitMQ(ctx context.Context, dial func(context.Context) (*amqp.Connection, error), queue string, slots int, decode func([]byte) error, handle func()) (stop func() error, err error) {
	ch, end, err := rabbitChannel(ctx, dial)
	if err != nil {
		return nil, err
	}
	if err := ch.Qos(slots, 0, false); err != nil {
		end()
		return nil, err
	}
	deliveries, err := ch.Consume(queue, "bench", false, false, false, false, nil)
	if err != nil {
		end()
		return nil, err
	}
	consumed := make(chan struct{})
	var jobs sync.WaitGroup
	go func() {
		defer close(consumed)
		for d := range deliveries {
			jobs.Go(func() { runRabbitMQ(&d, decode, handle) })
		}
	}()
	return func() error {
		err := ch.Cancel("bench", false)
		<-consumed
		jobs.Wait()
		time.Sleep(500 * time.Millisecond) // as our worker does: RabbitMQ drops acknowledgements if their connection ends at once
		end()
		return err
	}, nil
}

func runRabbitMQ(d *amqp.Delivery, decode func([]byte) error, handle func()) {
	if decode(d.Body) != nil {
		return // the benchmark finds it among what is left
	}
	handle()
	_ = d.Ack(false) // the same
}
