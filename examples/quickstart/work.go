package main

import (
	"context"
	"crypto/rand"
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
	// A namespace of this run's own: the same orders may come again.
	namespace := "airlock-quickstart-" + rand.Text()
	ends = append(ends, func(ctx context.Context) error { return removeKeys(ctx, rdb, namespace) })
	exec, err := workexec.New(rdb, &workexec.Options{Namespace: namespace})
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"", "mail", "warehouse"} {
		pool := work.NewWorkerPool(struct{}{}, 4, workexec.Namespace(namespace, name), rdb)
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

// removeKeys leaves somebody's Redis as it was.
func removeKeys(ctx context.Context, rdb *redis.Pool, namespace string) error {
	conn, err := rdb.GetContext(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	for cursor := "0"; ; {
		page, err := redis.Values(redis.DoContext(conn, ctx, "SCAN", cursor, "MATCH", namespace+":*", "COUNT", 1000))
		if err != nil {
			return err
		}
		var keys []any
		if _, err := redis.Scan(page, &cursor, &keys); err != nil {
			return err
		}
		if len(keys) > 0 {
			if _, err := redis.DoContext(conn, ctx, "DEL", keys...); err != nil {
				return err
			}
		}
		if cursor == "0" {
			return nil
		}
	}
}
