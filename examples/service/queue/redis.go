package queue

import (
	"context"
	"errors"
	"time"

	"github.com/gomodule/redigo/redis"
	goredis "github.com/redis/go-redis/v9"

	asynqexec "github.com/goairlock/airlock/executors/asynq"
	workexec "github.com/goairlock/airlock/executors/work"
	"github.com/goairlock/airlock/worker"
)

func openAsynq(_ context.Context, c Config) (*Queue, error) {
	opts, err := goredis.ParseURL(c.URL)
	if err != nil {
		return nil, errors.New("QUEUE_URL is no redis:// URL") // the client's error may quote the password
	}
	opts.MaxRetries = -1 // then an error says whether a job may be stored
	rdb := goredis.NewClient(opts)
	exec, err := asynqexec.New(rdb, nil)
	if err != nil {
		return nil, err
	}
	return &Queue{
		Executor: exec.Execute, Check: exec.CheckServer, close: []func(){func() { _ = rdb.Close() }},
		Worker: func(reg *worker.Registry, queues []string) (Runner, error) {
			return asynqexec.NewWorker(rdb, reg, &asynqexec.WorkerOptions{Queues: queues, Logger: c.Logger})
		},
	}, nil
}

func openWork(_ context.Context, c Config) (*Queue, error) {
	pool := &redis.Pool{MaxIdle: 10, DialContext: func(ctx context.Context) (redis.Conn, error) {
		return redis.DialURLContext(ctx, c.URL, redis.DialReadTimeout(10*time.Second), redis.DialWriteTimeout(10*time.Second))
	}}
	exec, err := workexec.New(pool, &workexec.Options{Namespace: "orders"})
	if err != nil {
		return nil, err
	}
	return &Queue{
		Executor: exec.Execute, Check: exec.CheckServer, close: []func(){func() { _ = pool.Close() }},
		Worker: func(reg *worker.Registry, queues []string) (Runner, error) {
			return workexec.NewWorker(pool, reg, &workexec.WorkerOptions{Namespace: "orders", Queues: queues, Logger: c.Logger})
		},
	}, nil
}
