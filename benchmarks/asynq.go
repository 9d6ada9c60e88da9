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

var asynqLibraries = []string{"github.com/hibiken/asynq", "github.com/redis/go-redis/v9"}

// distance is by how much a round trip is longer where the server is distant.
const distance = 1200 * time.Microsecond

// asynqGroup measures asynq: a loop over its Enqueue, the same from many
// goroutines, ours, and the limit, which is the same commands prepared in
// advance and sent in pipelines of 1000.
func asynqGroup() Group {
	return Group{
		Name: "asynq", Queue: "asynq", Title: "asynq on Redis", Libraries: asynqLibraries,
		Sizes: []int{1, 100, 1000, 10000}, Setup: func(ctx context.Context, w *world) ([]Contender, error) { return setupAsynq(ctx, w, 0) },
	}
}

// asynqDistantGroup measures the same with a server that is further away.
func asynqDistantGroup() Group {
	return Group{
		Name: "asynq-distant", Queue: "asynq", Title: "asynq on a Redis whose round trip is 1.2 ms longer", Libraries: asynqLibraries,
		Sizes: []int{1, 100, 1000}, Setup: func(ctx context.Context, w *world) ([]Contender, error) { return setupAsynq(ctx, w, distance) },
	}
}

const (
	benchQueue = "airlock-bench" // emptied before each sample
	asynqChunk = 1000            // more in one pipeline is not faster
)

func setupAsynq(ctx context.Context, w *world, further time.Duration) ([]Contender, error) {
	opts, err := w.redis(ctx)
	if err != nil {
		return nil, err
	}
	near := redis.NewClient(opts)
	w.Cleanup(func() { near.Close() }) //nolint:errcheck // nothing is under way
	if further > 0 {
		proxy, err := faultproxy.New(opts.Addr)
		if err != nil {
			return nil, err
		}
		w.Cleanup(proxy.Close)
		proxy.Delay(further / 2)
		through := *opts
		through.Addr = proxy.Addr()
		opts = &through
	}
	opts.MaxRetries, opts.PoolSize = -1, producers
	rdb := redis.NewClient(opts)
	w.Cleanup(func() { rdb.Close() }) //nolint:errcheck // nothing is under way

	clear := func() error {
		inspector := asynq.NewInspectorFromRedisClient(near)
		return errors.Join(
			near.SAdd(ctx, "asynq:queues", benchQueue).Err(), // a client announces a queue once in its life
			inspector.DeleteQueue(benchQueue, true))
	}
	w.Cleanup(func() { clear() }) //nolint:errcheck // what is left is removed by the next run
	library := asynq.NewClientFromRedisClient(rdb)
	// Redis has to know the script before the limit can name it.
	if _, err := library.EnqueueContext(ctx, asynq.NewTask(bench.Kind(), nil), asynq.Queue(benchQueue)); err != nil {
		return nil, err
	}
	contenders := append(asynqLibrary(ctx, library, clear), asynqLimit(ctx, rdb, clear))
	exec, err := asynqexec.New(rdb, nil)
	if err != nil {
		return nil, err
	}
	var intents []core.Intent
	return append(contenders, Contender{
		Name: "airlock",
		Prepare: func(n int) (err error) {
			intents, err = makeIntents(n, core.Queue(benchQueue))
			return errors.Join(err, clear())
		},
		HandOver: func(int) error { return exec.Execute(ctx, intents...) },
	}), nil
}

// asynqLibrary are the contenders that use asynq's own client.
func asynqLibrary(ctx context.Context, library *asynq.Client, clear func() error) []Contender {
	payload := benchPayload()
	return libraryContenders("asynq", func() error {
		_, err := library.EnqueueContext(ctx, asynq.NewTask(bench.Kind(), payload), asynq.Queue(benchQueue))
		return err
	}, clear)
}

// asynqLimit sends the commands that asynq would send for our intents, prepared in advance.
func asynqLimit(ctx context.Context, rdb *redis.Client, clear func() error) Contender {
	kept := &scriptRecorder{}
	library := asynq.NewClientFromRedisClient(kept)
	payload := benchPayload()
	fields := []asynq.Option{
		asynq.Queue(benchQueue), asynq.Timeout(100 * 365 * 24 * time.Hour), asynq.MaxRetry(25), asynq.Retention(5*time.Minute + time.Second),
	}
	headers := map[string]string{"Airlock-Envelope": `{"v":1,"max_attempts":25}`}
	return Contender{
		Name: "pipelines of the same commands", Reference: true,
		Prepare: func(n int) error {
			kept.scripts = kept.scripts[:0]
			intents, err := makeIntents(n)
			if err != nil {
				return err
			}
			for _, in := range intents {
				task := asynq.NewTaskWithHeaders(bench.Kind(), payload, headers, append(fields, asynq.TaskID(in.ID))...)
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

// scriptRecorder is a client that keeps the scripts that asynq runs.
type scriptRecorder struct {
	redis.UniversalClient
	scripts []keptScript
}

type keptScript struct {
	sha  string
	keys []string
	args []any
}

func (*scriptRecorder) SAdd(context.Context, string, ...any) *redis.IntCmd {
	return redis.NewIntResult(1, nil)
}

func (r *scriptRecorder) EvalSha(_ context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	r.scripts = append(r.scripts, keptScript{sha, keys, args})
	return redis.NewCmdResult(int64(1), nil)
}
