package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/conformance/faultproxy"
	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
)

// distance is by how much a round trip is longer where the server is distant.
const distance = 1200 * time.Microsecond

// asynqGroup measures asynq: a loop over its Enqueue, the same from many
// goroutines, ours, and the limit, the same commands made before and sent in
// pipelines of 1000. The Redis is that of AIRLOCK_REDIS_URL, or a private one.
func asynqGroup() Group {
	return Group{
		Name: "asynq", Title: "asynq on Redis",
		Sizes: []int{1, 100, 1000, 10000}, Setup: func(ctx context.Context) ([]Contender, func(), error) { return setupAsynq(ctx, 0) },
	}
}

// asynqDistantGroup measures the same with a server that is further away.
func asynqDistantGroup() Group {
	return Group{
		Name: "asynq-distant", Title: "asynq on a Redis whose round trip is 1.2 ms longer",
		Sizes: []int{1, 100, 1000}, MaxRounds: 30,
		Setup: func(ctx context.Context) ([]Contender, func(), error) { return setupAsynq(ctx, distance) },
	}
}

const (
	benchQueue = "airlock-bench" // emptied before each sample
	asynqChunk = 1000            // more in one pipeline is not faster
)

func setupAsynq(ctx context.Context, further time.Duration) (_ []Contender, _ func(), err error) {
	var ends []func()
	end := func() {
		for _, f := range slices.Backward(ends) {
			f()
		}
	}
	defer func() {
		if err != nil {
			end()
		}
	}()
	opts, stop, err := redisOptions(ctx)
	if err != nil {
		return nil, nil, err
	}
	near := redis.NewClient(opts)
	ends = append(ends, stop, func() { near.Close() }) //nolint:errcheck // nothing is under way
	if further > 0 {
		proxy, err := faultproxy.New(opts.Addr)
		if err != nil {
			return nil, nil, err
		}
		ends = append(ends, proxy.Close)
		proxy.Delay(further / 2)
		through := *opts
		through.Addr = proxy.Addr()
		opts = &through
	}
	opts.MaxRetries, opts.PoolSize = -1, producers
	rdb := redis.NewClient(opts)
	ends = append(ends, func() { rdb.Close() }) //nolint:errcheck // nothing is under way

	clear := func() error {
		inspector := asynq.NewInspectorFromRedisClient(near)
		return errors.Join(
			near.SAdd(ctx, "asynq:queues", benchQueue).Err(), // a client announces a queue once in its life
			inspector.DeleteQueue(benchQueue, true))
	}
	ends = append(ends, func() { clear() }) //nolint:errcheck // what is left is removed by the next run
	library := asynq.NewClientFromRedisClient(rdb)
	// Redis has to know the script before the limit can name it.
	if _, err := library.EnqueueContext(ctx, asynq.NewTask(bench.Kind(), nil), asynq.Queue(benchQueue)); err != nil {
		return nil, nil, err
	}
	contenders := append(asynqLibrary(ctx, library, clear), asynqLimit(ctx, rdb, clear))
	exec, err := asynqexec.New(rdb, nil)
	if err != nil {
		return nil, nil, err
	}
	var intents []core.Intent
	return append(contenders, Contender{
		Name: "airlock",
		Prepare: func(n int) (err error) {
			intents, err = makeIntents(n, core.Queue(benchQueue))
			return errors.Join(err, clear())
		},
		HandOver: func(int) error { return exec.Execute(ctx, intents...) },
	}), end, nil
}

// asynqLibrary are the contenders that use asynq's own client.
func asynqLibrary(ctx context.Context, library *asynq.Client, clear func() error) []Contender {
	payload := benchPayload()
	return libraryContenders("asynq", func() error {
		_, err := library.EnqueueContext(ctx, asynq.NewTask(bench.Kind(), payload), asynq.Queue(benchQueue))
		return err
	}, clear)
}

// asynqLimit sends what asynq would for our intents, made before.
func asynqLimit(ctx context.Context, rdb *redis.Client, clear func() error) Contender {
	kept := &keeper{}
	library := asynq.NewClientFromRedisClient(kept)
	payload := benchPayload()
	fields := []asynq.Option{asynq.Queue(benchQueue), asynq.Timeout(100 * 365 * 24 * time.Hour), asynq.Retention(5*time.Minute + time.Second)}
	return Contender{
		Name: "pipelines of the same commands", Reference: true,
		Prepare: func(n int) error {
			kept.scripts = kept.scripts[:0]
			intents, err := makeIntents(n)
			if err != nil {
				return err
			}
			for _, in := range intents {
				task := asynq.NewTask(bench.Kind(), payload, append(fields, asynq.TaskID(in.ID))...)
				if _, err := library.EnqueueContext(ctx, task); err != nil {
					return err
				}
			}
			return clear()
		},
		HandOver: func(int) error {
			for chunk := range slices.Chunk(kept.scripts, asynqChunk) {
				pipe := rdb.Pipeline()
				for _, s := range chunk {
					pipe.EvalSha(ctx, s.sha, s.keys, s.args...)
				}
				if _, err := pipe.Exec(ctx); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// keeper is a client that keeps the scripts that asynq runs.
type keeper struct {
	redis.UniversalClient
	scripts []keptScript
}

type keptScript struct {
	sha  string
	keys []string
	args []any
}

func (*keeper) SAdd(context.Context, string, ...any) *redis.IntCmd { return redis.NewIntResult(1, nil) }

func (k *keeper) EvalSha(_ context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	k.scripts = append(k.scripts, keptScript{sha, keys, args})
	return redis.NewCmdResult(int64(1), nil)
}
