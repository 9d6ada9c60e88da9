package work_test

import (
	"context"
	"encoding/json"
	"errors"
	"hash/fnv"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/gocraft/work"
	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/conformance"
	workexec "github.com/goairlock/airlock/executors/work"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/integration/trial"
)

// Not parallel: the suite looks for goroutines that are left behind.
func TestConformance(t *testing.T) {
	conformance.Run(t, harness("work-miniredis", severalRedis(t), workexec.Options{}))
}

// severalRedis shares the namespaces out among several servers. One embedded Redis may be busy with a check's large jobs for
// seconds: then the sign of life of another check's pool is late, the library takes the pool for dead, and runs its jobs twice.
func severalRedis(t *testing.T) func(namespace string) (addr string) {
	var addrs [16]string
	for i := range addrs {
		addrs[i] = miniredis.RunT(t).Addr()
	}
	return func(namespace string) string {
		h := fnv.New32a()
		h.Write([]byte(namespace))
		return addrs[h.Sum32()%uint32(len(addrs))]
	}
}

func oneRedis(addr string) func(string) string { return func(string) string { return addr } }

// harness tests the executor with pools of the library's, on the Redis of each namespace.
func harness(name string, addr func(namespace string) string, opts workexec.Options) conformance.Harness {
	h := conformance.Harness{
		// Idle workers look for jobs every 5 seconds. Scale bounds only what a green run does not use up, but for Settle.
		Scale: 10, Settle: 300 * time.Millisecond,
		Subject: conformance.Subject{
			Name: name, Module: "github.com/goairlock/airlock/executors/work", Backend: "redis",
			Settings: map[string]string{"library": "gocraft/work v0.5.1"},
		},
		RetryWithin:    90 * time.Second, // the library's own schedule: 16 s to 76 s before the first retry
		RecoversWithin: 20 * time.Second, // a pool looks for dead ones 10 s after its start
		Lease:          10 * time.Second, // for so long a pool may give no sign of life
		RewritesJSON:   opts.PlainArgs,
		RefusesJSON:    opts.PlainArgs,
		New: func(t conformance.T, s conformance.Setup) conformance.System {
			at := addr(s.Namespace)
			return system(t, servers.Lines{ExecutorAddr: at, WorkerAddr: at}, at, s, opts)
		},
		Native: &conformance.Native{
			Produce: func(ctx context.Context, namespace, task string, payload []byte) error {
				var pools cleanups
				defer pools.run()
				var args work.Q
				if err := json.Unmarshal(payload, &args); err != nil {
					return err
				}
				_, err := work.NewEnqueuer(namespace, plain(&pools, addr(namespace))).Enqueue(task, args)
				return err
			},
			Consume: func(ctx context.Context, namespace string) (string, []byte, error) {
				var pools cleanups
				defer pools.run()
				return consume(ctx, plain(&pools, addr(namespace)), namespace)
			},
		},
	}
	for _, g := range []struct{ name, id, message, payload string }{
		{"exact", "golden-1", `{"name":"conformance.golden","id":"golden-1","t":1,"args":{"airlock":"{\"v\":1,\"headers\":{\"Color\":\"red\"}}","airlock_payload":"{\"a\": [1]}"}}`, `{"a": [1]}`},
		{"base64", "golden-2", `{"name":"conformance.golden","id":"golden-2","t":1,"args":{"airlock":"{\"v\":1,\"headers\":{\"Color\":\"red\"}}","airlock_base64":"/wA="}}`, "\xff\x00"},
		{"plain", "golden-3", `{"args":{"a":[1],"airlock":"{\"v\":1,\"headers\":{\"Color\":\"red\"},\"later\":5}"},"id":"golden-3","name":"conformance.golden","t":1}`, `{"a":[1]}`},
	} {
		h.Golden = append(h.Golden, conformance.Golden{
			Name: g.name, ID: g.id, Payload: []byte(g.payload), Headers: map[string]string{"Color": "red"},
			Put: func(_ context.Context, namespace string) error {
				var pools cleanups
				defer pools.run()
				return put(plain(&pools, addr(namespace)), namespace, "conformance.golden", g.message)
			},
		})
	}
	return h
}

func put(rdb *redis.Pool, namespace, name, message string) error {
	conn := rdb.Get()
	defer conn.Close()
	_, err := conn.Do("SADD", namespace+":known_jobs", name)
	_, pushed := conn.Do("LPUSH", namespace+":jobs:"+name, message)
	return errors.Join(err, pushed)
}

// cleanups is a Cleaner for a function.
type cleanups []func()

func (c *cleanups) Cleanup(f func()) { *c = append(*c, f) }

func (c *cleanups) run() {
	for _, f := range *c {
		f()
	}
}

func system(t conformance.T, lines servers.Lines, addr string, s conformance.Setup, opts workexec.Options) conformance.System {
	wire := &wire{}
	rdb, direct := plain(t, lines.ExecutorAddr), plain(t, addr)
	workers := workers{rdb: wire.pool(t, lines.WorkerAddr)}
	opts.Namespace = s.Namespace
	exec, err := workexec.New(rdb, &opts)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	slots := s.Slots
	if slots == 0 {
		slots = 3 // each polls Redis, and so do those of every other check
	}
	queues := s.Queues
	if len(queues) == 0 {
		queues = []string{""}
	}
	for _, queue := range queues {
		pool := work.NewWorkerPool(struct{}{}, uint(slots), workexec.Namespace(s.Namespace, queue), workers.rdb)
		worker, err := workexec.Register(pool, s.Registry, &workexec.WorkerOptions{Lanes: opts.Lanes, Logger: quiet})
		if err != nil {
			t.Fatalf("Register: %v", err)
		}
		workers.all = append(workers.all, worker)
	}
	t.Cleanup(func() { _ = workers.stop(context.Background()) })
	sys := conformance.System{
		Exec: exec.Execute, Caps: exec.Capabilities(), Stop: workers.stop,
		Stored: func(context.Context) ([]conformance.Record, error) { return records(direct, s.Namespace, queues) },
		Corrupt: func(_ context.Context, task string) error {
			return put(direct, s.Namespace, task, `{"name":"`+task+`","id":"corrupt","t":1,"args":{"airlock":"{"}}`)
		},
	}
	if len(workers.all) == 1 {
		sys.Slots = slots
		sys.Kill = func() error {
			wire.cut()
			return forget(direct, s.Namespace)
		}
	}
	if s.Paused {
		sys.Start = func(context.Context) error { workers.start(); return nil }
	} else {
		workers.start()
	}
	return sys
}

// workers are those of several queues.
type workers struct {
	rdb *redis.Pool
	all []*workexec.Worker
}

func (w *workers) start() {
	for _, worker := range w.all {
		worker.Start()
	}
}

func (w *workers) stop(ctx context.Context) error {
	ends := make(chan error)
	for _, worker := range w.all {
		go func() { ends <- worker.Stop(ctx) }()
	}
	var errs []error
	for range w.all {
		errs = append(errs, <-ends)
	}
	return errors.Join(errs...)
}

// A wire is a worker's way to Redis. Once it is cut the worker is dead, as far as anybody can see.
type wire struct {
	mu    sync.Mutex
	ended bool       // guarded by mu
	conns []net.Conn // guarded by mu
}

func (w *wire) pool(t trial.Cleaner, addr string) *redis.Pool {
	dial := redis.DialContextFunc(func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.ended {
			return nil, errors.Join(errCut, conn.Close())
		}
		w.conns = append(w.conns, conn)
		return conn, nil
	})
	rdb := &redis.Pool{MaxIdle: 20, DialContext: func(ctx context.Context) (redis.Conn, error) {
		// The library gives no context: this is what ends its waiting for a lost reply.
		return redis.DialContext(ctx, "tcp", addr, dial, redis.DialReadTimeout(10*time.Second), redis.DialWriteTimeout(10*time.Second))
	}}
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

var errCut = errors.New("the worker is dead")

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	for _, conn := range w.conns {
		_ = conn.Close()
	}
}

// forget makes the last signs of life of a namespace's pools old ones.
func forget(rdb *redis.Pool, namespace string) error {
	conn := rdb.Get()
	defer conn.Close()
	ids, err := redis.Strings(conn.Do("SMEMBERS", namespace+":worker_pools"))
	for _, id := range ids {
		_, set := conn.Do("HSET", namespace+":worker_pools:"+id, "heartbeat_at", 1)
		err = errors.Join(err, set)
	}
	return err
}

// records are what lies in Redis.
func records(rdb *redis.Pool, namespace string, queues []string) ([]conformance.Record, error) {
	states := map[string]conformance.RecordState{
		"waiting": conformance.Waiting, "scheduled": conformance.Waiting, "retry": conformance.Waiting,
		"running": conformance.Running, "dead": conformance.Buried,
	}
	var all []conformance.Record
	for _, queue := range slices.Compact(slices.Sorted(slices.Values(append([]string{""}, queues...)))) {
		jobs, err := jobsIn(rdb, workexec.Namespace(namespace, queue))
		if err != nil {
			return nil, err
		}
		for _, s := range jobs {
			all = append(all, conformance.Record{ID: s.ID, Task: s.Name, State: states[s.place]})
		}
	}
	return all, nil
}

// consume takes one job with a pool that knows nothing of airlock.
func consume(ctx context.Context, rdb *redis.Pool, namespace string) (task string, payload []byte, err error) {
	got := make(chan *work.Job, 1)
	pool := work.NewWorkerPool(struct{}{}, 1, namespace, rdb)
	for _, name := range []string{"conformance.job", "conformance.raw"} {
		pool.Job(name, func(job *work.Job) error {
			select {
			case got <- job:
				return nil
			default:
				return trial.ErrDeclined // it was to be one
			}
		})
	}
	pool.Start()
	defer pool.Stop()
	select {
	case job := <-got:
		payload, err := workexec.Payload(job)
		return job.Name, payload, err
	case <-ctx.Done():
		return "", nil, ctx.Err()
	}
}
