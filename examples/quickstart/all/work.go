package main

import (
	"context"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/examples/quickstart/demo"
	workexec "github.com/goairlock/airlock/executors/work"
)

func openWork(ctx context.Context, run *demo.Run) (_ *demo.Queue, err error) {
	var undo cleanup
	defer undo.failed(&err)
	url, err := openRedis(run.Options.Redis, &undo)
	if err != nil {
		return nil, err
	}
	rdb := &redis.Pool{MaxIdle: 10, DialContext: func(ctx context.Context) (redis.Conn, error) {
		return redis.DialURLContext(ctx, url, redis.DialReadTimeout(10*time.Second), redis.DialWriteTimeout(10*time.Second))
	}}
	undo.add(rdb.Close)
	namespace := run.QueueNames["default"]
	undo.add(func() error { return removeKeys(context.WithoutCancel(ctx), rdb, namespace) })
	exec, err := workexec.New(rdb, &workexec.Options{Namespace: namespace})
	if err != nil {
		return nil, err
	}
	worker, err := workexec.NewWorker(rdb, run.Registry, &workexec.WorkerOptions{Namespace: namespace, Queues: []string{"mail", "warehouse"}})
	if err != nil {
		return nil, err
	}
	undo.start(ctx, worker.Run)
	return &demo.Queue{
		Exec: exec.Execute,
		Stop: func(context.Context) error { return undo.run() },
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
