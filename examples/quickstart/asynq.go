package main

import (
	"context"
	"errors"
	"flag"
	"sync/atomic"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
)

// redisURL is what -redis was given, nil without it.
var redisURL atomic.Pointer[string]

var asynqExecutor = executor{
	name:  "asynq",
	about: "hibiken/asynq on Redis",
	flags: func(f *flag.FlagSet) {
		f.Func("redis", "for asynq: redis://[user:password@]host:port/db (default: an embedded server)", func(url string) error {
			redisURL.Store(&url)
			return nil
		})
	},
	open: func(ctx context.Context, reg *core.Registry) (*queue, error) {
		url := ""
		if given := redisURL.Load(); given != nil {
			url = *given
		}
		return openAsynq(ctx, url, reg)
	},
}

func openAsynq(ctx context.Context, url string, reg *core.Registry) (_ *queue, err error) {
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
	if url == "" {
		embedded := miniredis.NewMiniRedis()
		if err := embedded.Start(); err != nil {
			return nil, err
		}
		ends = append(ends, func() error { embedded.Close(); return nil })
		url = "redis://" + embedded.Addr()
	}
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
