package main

import (
	"context"
	"errors"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/core"
	celeryexec "github.com/goairlock/airlock/executors/celery"
)

// celeryGroup measures jobs for Celery workers whose broker is Redis: a loop of LPUSH,
// ours, and the limit, one LPUSH of the same messages, made before.
func celeryGroup() Group {
	return Group{
		Name: "celery", Queue: "celery", Title: "Celery's messages on Redis", Libraries: celeryLibraries,
		Sizes: []int{1, 100, 1000}, Setup: setupCelery,
	}
}

// celeryAMQPGroup measures the same on RabbitMQ: a loop that waits for each confirm, ours,
// and the limit, the same publishes before the first confirm is awaited.
func celeryAMQPGroup() Group {
	return Group{
		Name: "celery-amqp", Queue: "celery", Title: "Celery's messages on RabbitMQ, a classic queue", Libraries: rabbitLibraries,
		Sizes: []int{1, 100, 1000}, Setup: setupCeleryAMQP,
	}
}

var celeryLibraries = []string{"github.com/redis/go-redis/v9"}

// celeryQueue is Celery's name of the queue, and on Redis the key of its list.
const celeryQueue = "airlock-bench.celery"

var celeryNames = map[string]string{"default": celeryQueue}

// celeryRedis has keys of the benchmark's own next to the queue.
var celeryRedis = celeryexec.RedisOptions{KeyPrefix: "airlock-bench:"}

// celerySetup returns the options of Redis, a client for what is not measured, and an
// executor on another one.
func celerySetup(ctx context.Context, w *world) (*redis.Options, *redis.Client, *celeryexec.Executor, error) {
	opts, err := w.redis(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	opts.MaxRetries = -1
	open := func() *redis.Client {
		rdb := redis.NewClient(opts)
		w.Cleanup(func() { rdb.Close() }) //nolint:errcheck // nothing is under way
		return rdb
	}
	exec, err := celeryexec.New(open(), &celeryexec.Options{Redis: celeryRedis, QueueNames: celeryNames})
	if err != nil {
		return nil, nil, nil, err
	}
	rdb := open()
	w.Cleanup(func() { clearCelery(ctx, rdb) }) //nolint:errcheck // what is left is removed by the next run
	return opts, rdb, exec, clearCelery(ctx, rdb)
}

// clearCelery removes all that the benchmark stores in Redis.
func clearCelery(ctx context.Context, rdb *redis.Client) error {
	return rdb.Del(ctx, celeryKey(celeryQueue), celeryKey("unacked"), celeryKey("unacked_index")).Err()
}

func celeryKey(name string) string { return celeryRedis.KeyPrefix + name }

func setupCelery(ctx context.Context, w *world) ([]Contender, error) {
	_, rdb, exec, err := celerySetup(ctx, w)
	if err != nil {
		return nil, err
	}
	var intents []core.Intent
	var messages []any
	prepare := func(n int) (err error) {
		if intents, err = makeIntents(n); err != nil {
			return err
		}
		if err := errors.Join(clearCelery(ctx, rdb), exec.Execute(ctx, intents...)); err != nil {
			return err
		}
		stored, err := rdb.LRange(ctx, celeryKey(celeryQueue), 0, -1).Result()
		messages = messages[:0]
		for _, m := range stored {
			messages = append(messages, m)
		}
		return errors.Join(err, clearCelery(ctx, rdb))
	}
	push := func(messages []any) error { return rdb.LPush(ctx, celeryKey(celeryQueue), messages...).Err() }
	return []Contender{
		{Name: "loop of LPUSH", MaxSize: loopSize, Prepare: prepare, HandOver: func(int) error {
			for i := range messages {
				if err := push(messages[i : i+1]); err != nil {
					return err
				}
			}
			return nil
		}},
		{Name: "airlock", Prepare: prepare, HandOver: func(int) error { return exec.Execute(ctx, intents...) }},
		{Name: "limit: one LPUSH of the same bytes", Reference: true, Prepare: prepare, HandOver: func(int) error { return push(messages) }},
	}, nil
}

// celeryAMQPSetup returns a function that connects, a channel for what is not measured,
// and an executor. The queue is declared as Celery declares it.
func celeryAMQPSetup(ctx context.Context, w *world) (celeryexec.Dial, *amqp.Channel, *celeryexec.Executor, error) {
	url, err := w.rabbitmq(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	dial := func(context.Context) (*amqp.Connection, error) { return amqp.Dial(url) }
	ch, end, err := rabbitChannel(ctx, dial)
	if err != nil {
		return nil, nil, nil, err
	}
	w.Cleanup(end)
	if _, err := ch.QueueDeclare(celeryQueue, true, false, false, false, nil); err != nil {
		return nil, nil, nil, err
	}
	if _, err := ch.QueuePurge(celeryQueue, false); err != nil {
		return nil, nil, nil, err
	}
	exec, err := celeryexec.NewAMQP(dial, &celeryexec.Options{QueueNames: celeryNames})
	if err != nil {
		return nil, nil, nil, err
	}
	w.Cleanup(func() { _ = exec.Close() })
	return dial, ch, exec, nil
}

func setupCeleryAMQP(ctx context.Context, w *world) ([]Contender, error) {
	_, ch, exec, err := celeryAMQPSetup(ctx, w)
	if err != nil {
		return nil, err
	}
	if err := ch.Confirm(false); err != nil {
		return nil, err
	}
	template, err := celeryTemplate(ctx, ch, exec)
	if err != nil {
		return nil, err
	}
	var intents []core.Intent
	var messages []amqp.Publishing
	prepare := func(n int) (err error) {
		if intents, err = makeIntents(n); err != nil {
			return err
		}
		messages = messages[:0]
		for range n {
			messages = append(messages, template)
		}
		_, err = ch.QueuePurge(celeryQueue, false)
		return err
	}
	return rabbitContenders(ctx, ch, celeryQueue, &messages, Contender{
		Name: "airlock", Prepare: prepare, HandOver: func(int) error { return exec.Execute(ctx, intents...) },
	}), nil
}

// celeryTemplate returns a message as ours sends it. All have the same size.
func celeryTemplate(ctx context.Context, ch *amqp.Channel, exec *celeryexec.Executor) (amqp.Publishing, error) {
	intents, err := makeIntents(1)
	if err != nil {
		return amqp.Publishing{}, err
	}
	if err := exec.Execute(ctx, intents...); err != nil {
		return amqp.Publishing{}, err
	}
	d, ok, err := ch.Get(celeryQueue, true)
	if err != nil || !ok {
		return amqp.Publishing{}, errors.Join(err, errNotStored)
	}
	return amqp.Publishing{
		Headers: d.Headers, ContentType: d.ContentType, ContentEncoding: d.ContentEncoding, DeliveryMode: d.DeliveryMode,
		CorrelationId: d.CorrelationId, Body: d.Body,
	}, nil
}
