package work_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/gocraft/work"
	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/conformance"
	workexec "github.com/goairlock/airlock/executors/work"
	"github.com/goairlock/airlock/integration/trial"
)

// Not parallel: the suite looks for goroutines that are left behind.
func TestConformance(t *testing.T) {
	servers := newShards(t)
	h := harness("work-miniredis", func(namespace string) string { return servers.of(namespace).Addr() }, workexec.Options{})
	open := h.New
	h.New = func(t conformance.T, s conformance.Setup) conformance.System {
		if s.IDWindow > 0 {
			servers.exact.Store(s.Namespace, true)
		}
		t.Cleanup(func() { tidy(servers.of(s.Namespace), s.Namespace) })
		return open(t, s)
	}
	conformance.Run(t, h)
}

// shards shares the namespaces out among several servers. One embedded Redis may be busy with a check's large jobs for
// seconds: then the heartbeat of another check's pool is late, the library takes the pool for dead, and runs its jobs twice.
type shards struct {
	several [16]*miniredis.Miniredis
	clock   *miniredis.Miniredis // its keys expire to the millisecond, and each of its commands sorts all keys
	exact   sync.Map             // the namespaces that need that
}

func newShards(t *testing.T) *shards {
	s := &shards{clock: runConnected(t)}
	s.clock.ClockTTL(true)
	for i := range s.several {
		s.several[i] = runConnected(t)
	}
	expireKeys(t, s.several[:])
	return s
}

// runConnected runs a server and connects to it. Each connection is a goroutine of its server: not one that a check leaves
// behind.
func runConnected(t *testing.T) *miniredis.Miniredis {
	m := miniredis.RunT(t)
	conn := sharedPool(m.Addr()).Get()
	_, err := conn.Do("PING")
	if err := errors.Join(err, conn.Close()); err != nil {
		t.Fatal(err)
	}
	return m
}

func (s *shards) of(namespace string) *miniredis.Miniredis {
	if _, exact := s.exact.Load(namespace); exact {
		return s.clock
	}
	h := fnv.New32a()
	h.Write([]byte(namespace))
	return s.several[h.Sum32()%uint32(len(s.several))]
}

// expireKeys lets keys expire on embedded servers, some milliseconds early or late. The servers' own clock, ClockTTL, took two
// thirds of the time of a run of the suite.
func expireKeys(t *testing.T, several []*miniredis.Miniredis) {
	tick := time.NewTicker(20 * time.Millisecond)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		last := time.Now()
		for {
			select {
			case <-stop:
				return
			case now := <-tick.C:
				for _, m := range several {
					m.FastForward(now.Sub(last))
				}
				last = now
			}
		}
	}()
	t.Cleanup(func() {
		tick.Stop()
		close(stop)
		<-stopped
	})
}

// tidy removes what a check has left, so that keys which expire are looked for among few.
func tidy(m *miniredis.Miniredis, namespace string) {
	for _, key := range m.Keys() {
		if strings.HasPrefix(key, namespace+":") {
			m.Del(key)
		}
	}
}

func oneRedis(addr string) func(string) string { return func(string) string { return addr } }

// harness tests the executor and its worker on the Redis of each namespace.
func harness(name string, addr func(namespace string) string, opts workexec.Options) conformance.Harness {
	h := conformance.Harness{
		// Scale bounds only what a green run does not use up, except for Settle.
		Scale: 10, Settle: 300 * time.Millisecond,
		Subject: conformance.Subject{
			Name: name, Module: "github.com/goairlock/airlock/executors/work", Backend: "redis",
			Settings: map[string]string{"library": "gocraft/work v0.5.1"},
		},
		RetryWithin:    90 * time.Second, // the library's own schedule: 16 s to 76 s before the first retry
		RecoversWithin: 20 * time.Second, // a worker takes others for dead once it has lived for 10 s
		Lease:          10 * time.Second, // for so long a worker may send no heartbeat
		ParksFor:       2 * time.Second,
		Inspects:       true,
		RewritesJSON:   opts.PlainArgs,
		RefusesJSON:    opts.PlainArgs,
		New: func(t conformance.T, s conformance.Setup) conformance.System {
			at := addr(s.Namespace)
			return system(t, &conformance.Lines{ExecutorAddr: at, WorkerAddr: at}, at, s, opts)
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

// laterJobs counts the jobs with an envelope of a later version, which need IDs.
var laterJobs atomic.Int64

func system(t conformance.T, lines *conformance.Lines, addr string, s conformance.Setup, opts workexec.Options) conformance.System {
	wire := &wire{}
	direct := sharedPool(addr)
	rdb := direct
	if lines.ExecutorAddr != addr {
		rdb = plain(t, lines.ExecutorAddr)
	}
	opts.Namespace, opts.IDWindow = s.Namespace, s.IDWindow
	opts.QueueNames = nativeNames(s)
	exec, err := workexec.New(rdb, &opts)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	view, err := workexec.NewInspector(direct, &workexec.InspectorOptions{Namespace: s.Namespace})
	if err != nil {
		t.Fatalf("NewInspector: %v", err)
	}
	queues := s.QueueNames("default")
	if len(queues) == 0 {
		queues = []string{"default"}
	}
	slots := s.Slots
	if slots == 0 {
		slots = 10
	}
	workers := wire.pool(t, lines.WorkerAddr)
	w, err := workexec.NewWorker(workers, s.Registry, &workexec.WorkerOptions{
		Namespace: s.Namespace, QueueNames: opts.QueueNames, Queues: queues, Concurrency: slots, Lanes: opts.Lanes, Logger: s.Logger, DrainTimeout: 8 * time.Second, ParkFor: time.Second,
	})
	if err != nil {
		t.Fatalf("NewWorker: %v", err)
	}
	sys := conformance.System{
		Exec: exec.Execute, Caps: exec.Capabilities(), Slots: slots, Inspector: view,
		Stored: func(context.Context) ([]conformance.Record, error) { return records(direct, s.Namespace, queues) },
		Corrupt: func(_ context.Context, task string) error {
			return put(direct, s.Namespace, task, `{"name":"`+task+`","id":"corrupt","t":1,"args":{"airlock":"{"}}`)
		},
		Later: func(_ context.Context, task string) error {
			id := fmt.Sprintf("later-%d", laterJobs.Add(1))
			return put(direct, s.Namespace, task, `{"name":"`+task+`","id":"`+id+`","t":1,"args":{"airlock":"{\"v\":99,\"max_attempts\":1}"}}`)
		},
		NativeNames: true,
		Freeze: func() (func() error, error) {
			wire.freeze(true)
			return func() error { wire.freeze(false); return nil }, forget(direct, s.Namespace)
		},
		Kill: func() error {
			wire.cut()
			return forget(direct, s.Namespace)
		},
	}
	// The connections are closed after the run: they are goroutines of an embedded server.
	conformance.RunWorker(t, s, &sys, func(ctx context.Context) error { return errors.Join(w.Run(ctx), workers.Close()) })
	return sys
}

// nativeNames are namespaces of their own. No other name of a queue is one of them, so each queue of a check with native names
// has one.
func nativeNames(s conformance.Setup) map[string]string {
	names := s.NativeNames
	if names == nil && slices.Contains(s.Queues, "tasks") {
		names = map[string]string{}
		for _, queue := range s.Queues {
			names[queue] = queue
		}
	}
	own := map[string]string{}
	for queue, native := range names {
		own[queue] = s.Namespace + "-" + native
	}
	return own
}

// pools are those of systems whose way to Redis nobody breaks. They stay as long as the tests.
var pools sync.Map // address to *redis.Pool

func sharedPool(addr string) *redis.Pool {
	var ends cleanups // of a pool that was not needed
	rdb, loaded := pools.LoadOrStore(addr, plain(&ends, addr))
	if loaded {
		ends.run()
	}
	return rdb.(*redis.Pool)
}

// forget makes the last heartbeats of a namespace's pools old ones.
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
