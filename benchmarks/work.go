package main

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/gocraft/work"
	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/conformance/faultproxy"
	"github.com/goairlock/airlock/core"
	workexec "github.com/goairlock/airlock/executors/work"
)

// workGroup measures gocraft/work: a loop over its Enqueue, the same from many
// goroutines, ours, and the limit, pipelines of a small script for each job that
// keeps an ID and pushes a message made before.
func workGroup() Group {
	return Group{
		Name: "work", Queue: "work", Title: "gocraft/work on Redis", Libraries: workLibraries,
		Sizes: []int{1, 100, 1000, 10000}, Setup: func(ctx context.Context, w *world) ([]Contender, error) { return setupWork(ctx, w, 0) },
	}
}

// workDistantGroup measures the same with a server that is further away.
func workDistantGroup() Group {
	return Group{
		Name: "work-distant", Queue: "work", Title: "gocraft/work on a Redis whose round trip is 1.2 ms longer", Libraries: workLibraries,
		Sizes: []int{1, 100, 1000}, Setup: func(ctx context.Context, w *world) ([]Contender, error) { return setupWork(ctx, w, distance) },
	}
}

var workLibraries = []string{"github.com/gocraft/work", "github.com/gomodule/redigo"}

const (
	workNamespace = "airlock-bench"
	workWindow    = 5 * time.Second // IDs are not removed between samples, but forgotten
	workChunk     = 1000            // more in one pipeline is not faster
)

func setupWork(ctx context.Context, w *world, further time.Duration) ([]Contender, error) {
	opts, err := w.redis(ctx)
	if err != nil {
		return nil, err
	}
	open := func(addr string) *redis.Pool {
		rdb := &redis.Pool{MaxIdle: producers, DialContext: func(ctx context.Context) (redis.Conn, error) {
			return redis.DialContext(ctx, "tcp", addr,
				redis.DialUsername(opts.Username), redis.DialPassword(opts.Password), redis.DialDatabase(opts.DB))
		}}
		w.Cleanup(func() { rdb.Close() }) //nolint:errcheck // nothing is under way
		return rdb
	}
	near := open(opts.Addr)
	rdb := near
	if further > 0 {
		proxy, err := faultproxy.New(opts.Addr)
		if err != nil {
			return nil, err
		}
		w.Cleanup(proxy.Close)
		proxy.Delay(further / 2)
		rdb = open(proxy.Addr())
	}
	clear := func() error {
		conn := near.Get()
		defer conn.Close()
		_, err := conn.Do("DEL", workNamespace+":jobs:"+bench.Kind(), workNamespace+":known_jobs")
		return err
	}
	w.Cleanup(func() { clear() }) //nolint:errcheck // what is left is removed by the next run
	exec, err := workexec.New(rdb, &workexec.Options{Namespace: workNamespace, IDWindow: workWindow})
	if err != nil {
		return nil, err
	}
	limit, err := workLimit(ctx, rdb, clear)
	if err != nil {
		return nil, err
	}
	var intents []core.Intent
	return append(workLibrary(rdb, clear), limit, Contender{
		Name: "airlock",
		Prepare: func(n int) (err error) {
			intents, err = makeIntents(n)
			return errors.Join(err, clear())
		},
		HandOver: func(int) error { return exec.Execute(ctx, intents...) },
	}), nil
}

// workLibrary are the contenders that use the library's own enqueuer, with the same
// argument as ours.
func workLibrary(rdb *redis.Pool, clear func() error) []Contender {
	library := work.NewEnqueuer(workNamespace, rdb)
	payload := string(benchPayload())
	return libraryContenders("gocraft/work", func() error {
		_, err := library.Enqueue(bench.Kind(), work.Q{"airlock_payload": payload})
		return err
	}, clear)
}

// workLimit is the least that stores a job once, sent without waiting.
func workLimit(ctx context.Context, rdb *redis.Pool, clear func() error) (Contender, error) {
	script := redis.NewScript(2, `
if redis.call("SET", KEYS[1], "1", "NX", "PX", ARGV[1]) then
	redis.call("LPUSH", KEYS[2], ARGV[2])
	return 1
end
return 0
`)
	conn, err := rdb.GetContext(ctx)
	if err != nil {
		return Contender{}, err
	}
	defer conn.Close()
	if err := script.Load(conn); err != nil {
		return Contender{}, err
	}
	type job struct {
		marker  string
		message []byte
	}
	var jobs []job
	return Contender{
		Name: "pipelines of one script for each job", Reference: true,
		Prepare: func(n int) error {
			intents, err := makeIntents(n)
			jobs = jobs[:0]
			for _, in := range intents {
				message, marshal := json.Marshal(&work.Job{
					Name: in.Task, ID: in.ID, EnqueuedAt: time.Now().Unix(), Args: work.Q{"airlock_payload": string(in.Payload())},
				})
				err = errors.Join(err, marshal)
				jobs = append(jobs, job{workNamespace + ":airlock:id:" + in.ID, message})
			}
			return errors.Join(err, clear())
		},
		HandOver: func(int) error {
			conn := rdb.Get()
			defer conn.Close()
			for chunk := range slices.Chunk(jobs, workChunk) {
				for i := range chunk {
					err := script.SendHash(conn, chunk[i].marker, workNamespace+":jobs:"+bench.Kind(), workWindow.Milliseconds(), chunk[i].message)
					if err != nil {
						return err
					}
				}
				if err := conn.Flush(); err != nil {
					return err
				}
				for range chunk {
					if stored, err := redis.Int(conn.Receive()); err != nil || stored != 1 {
						return errors.Join(err, errNotStored)
					}
				}
			}
			return nil
		},
	}, nil
}

var errNotStored = errors.New("a job was not stored")
