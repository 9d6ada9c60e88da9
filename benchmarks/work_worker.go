package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"

	"github.com/gocraft/work"
	"github.com/gomodule/redigo/redis"

	workexec "github.com/goairlock/airlock/executors/work"
	"github.com/goairlock/airlock/worker"
)

// workWorkers compares a worker of ours with the library's own pool.
func workWorkers() WorkerGroup {
	return WorkerGroup{Name: "worker-work", Queue: "work", Title: "Workers of gocraft/work on Redis", Libraries: workLibraries, Setup: setupWorkWorkers}
}

func setupWorkWorkers(ctx context.Context, w *world) ([]WorkerContender, error) {
	opts, err := w.redis(ctx)
	if err != nil {
		return nil, err
	}
	rdb := &redis.Pool{MaxIdle: 2 * producers, DialContext: func(ctx context.Context) (redis.Conn, error) {
		return redis.DialContext(ctx, "tcp", opts.Addr,
			redis.DialUsername(opts.Username), redis.DialPassword(opts.Password), redis.DialDatabase(opts.DB))
	}}
	w.Cleanup(func() { rdb.Close() }) //nolint:errcheck // nothing is under way
	exec, err := workexec.New(rdb, &workexec.Options{Namespace: workNamespace, IDWindow: workWindow})
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
	return []WorkerContender{
		{Name: "work.WorkerPool", Reference: true, Fill: fill, Left: workLeft(rdb), Start: func(_ context.Context, slots int, handle func()) (func() error, error) {
			pool := work.NewWorkerPool(struct{}{}, uint(slots), workNamespace, rdb)
			pool.Job(bench.Kind(), func(job *work.Job) error {
				var args benchArgs
				if err := json.Unmarshal([]byte(job.ArgString("airlock_payload")), &args); err != nil {
					return err
				}
				handle()
				return nil
			})
			pool.Start()
			return func() error { pool.Stop(); return nil }, nil
		}},
		{Name: "airlock", Fill: fill, Left: workLeft(rdb), Start: func(ctx context.Context, slots int, handle func()) (func() error, error) {
			reg, err := worker.NewRegistry(worker.Handle(benchTask, func(context.Context, benchArgs) error { handle(); return nil }))
			if err != nil {
				return nil, err
			}
			w, err := workexec.NewWorker(rdb, reg, &workexec.WorkerOptions{
				Namespace: workNamespace, Concurrency: slots, Logger: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				return nil, err
			}
			return running(ctx, w.Run), nil
		}},
	}, nil
}

// workLeft counts the jobs that wait, run or are to be retried.
func workLeft(rdb *redis.Pool) func(context.Context) (int, error) {
	return func(context.Context) (int, error) {
		conn := rdb.Get()
		defer conn.Close()
		const list = workNamespace + ":jobs:"
		waiting, err := redis.Int(conn.Do("LLEN", list+bench.Kind()))
		running, errRunning := redis.Int(conn.Do("GET", list+bench.Kind()+":lock"))
		if errors.Is(errRunning, redis.ErrNil) {
			errRunning = nil
		}
		retried, errRetried := redis.Int(conn.Do("ZCARD", workNamespace+":retry"))
		return waiting + running + retried, errors.Join(err, errRunning, errRetried)
	}
}
