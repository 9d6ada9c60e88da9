package main

import (
	"context"
	"errors"
	"time"

	"github.com/gocraft/work"
	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/core"
	workexec "github.com/goairlock/airlock/executors/work"
)

var workExecutor = executor{
	name:  "work",
	about: "gocraft/work on Redis",
	open:  openWork, // the flag -redis is told with asynq
}

// workNamespace begins all keys in Redis.
const workNamespace = "airlock-quickstart"

func openWork(_ context.Context, reg *core.Registry) (_ *queue, err error) {
	var ends []func(context.Context) error
	closeAll := func(ctx context.Context) error {
		var errs []error
		for i := len(ends) - 1; i >= 0; i-- {
			errs = append(errs, ends[i](ctx))
		}
		return errors.Join(errs...)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, closeAll(context.Background()))
		}
	}()
	url, end, err := openRedis()
	if err != nil {
		return nil, err
	}
	ends = append(ends, func(context.Context) error { return end() })
	rdb := &redis.Pool{MaxIdle: 10, DialContext: func(ctx context.Context) (redis.Conn, error) {
		return redis.DialURLContext(ctx, url, redis.DialReadTimeout(10*time.Second), redis.DialWriteTimeout(10*time.Second))
	}}
	ends = append(ends, func(context.Context) error { return rdb.Close() })
	exec, err := workexec.New(rdb, &workexec.Options{Namespace: workNamespace})
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"", "mail", "warehouse"} {
		pool := work.NewWorkerPool(struct{}{}, 4, workexec.Namespace(workNamespace, name), rdb)
		worker, err := workexec.Register(pool, reg, nil)
		if err != nil {
			return nil, err
		}
		worker.Start()
		ends = append(ends, worker.Stop)
	}
	return &queue{
		exec: exec.Execute,
		late: 15 * time.Second, // an idle worker looks for jobs every 5 seconds
		stop: closeAll,
	}, nil
}
