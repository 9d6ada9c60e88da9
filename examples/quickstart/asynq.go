package main

import (
	"context"
	"errors"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
)

var asynqExecutor = executor{
	name:  "asynq",
	about: "hibiken/asynq on Redis",
	flags: redisFlag,
	open:  openAsynq,
}

func openAsynq(ctx context.Context, reg *core.Registry) (_ *queue, err error) {
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
	url, end, err := openRedis()
	if err != nil {
		return nil, err
	}
	ends = append(ends, end)
	opts, err := redis.ParseURL(url)
	if err != nil {
		return nil, err
	}
	opts.MaxRetries = -1 // then an error tells whether a job may be stored
	rdb := redis.NewClient(opts)
	ends = append(ends, rdb.Close)
	exec, err := asynqexec.New(rdb, nil)
	if err != nil {
		return nil, err
	}
	if err := exec.CheckServer(ctx); err != nil {
		return nil, err
	}
	cfg := asynq.Config{
		Queues:   map[string]int{"mail": 1, "warehouse": 1},
		LogLevel: asynq.ErrorLevel, TaskCheckInterval: 20 * time.Millisecond, DelayedTaskCheckInterval: 100 * time.Millisecond,
	}
	if err := asynqexec.Configure(&cfg); err != nil {
		return nil, err
	}
	server := asynq.NewServerFromRedisClient(rdb, cfg)
	if err := server.Start(asynqexec.Handler(reg)); err != nil {
		return nil, err
	}
	ends = append(ends, func() error { server.Shutdown(); return nil })
	return &queue{
		exec: exec.Execute,
		late: 10 * time.Second,
		stop: func(context.Context) error { return closeAll() },
	}, nil
}
