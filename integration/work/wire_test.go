package work_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/conformance"
	workexec "github.com/goairlock/airlock/executors/work"
	"github.com/goairlock/airlock/integration/trial"
)

// A wire is a worker's way to Redis. Once it is cut the worker is dead, as far as anybody can see.
type wire struct {
	mu    sync.Mutex
	ended bool       // guarded by mu
	cold  bool       // guarded by mu
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
		if w.ended || w.cold {
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

// freeze lets nothing pass until it is called with false.
func (w *wire) freeze(cold bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cold = cold
	for _, conn := range w.conns {
		_ = conn.Close()
	}
	w.conns = nil
}

// records are what lies in Redis.
func records(rdb *redis.Pool, namespace string, queues []string) ([]conformance.Record, error) {
	states := map[string]conformance.RecordState{
		"waiting": conformance.Waiting, "scheduled": conformance.Waiting, "retry": conformance.Waiting,
		"running": conformance.Running, "dead": conformance.Buried,
	}
	places := []string{workexec.Namespace(namespace, "")}
	for _, queue := range queues {
		places = append(places, workexec.Namespace(namespace, queue))
	}
	var all []conformance.Record
	for _, place := range slices.Compact(slices.Sorted(slices.Values(places))) {
		jobs, err := jobsIn(rdb, place)
		if err != nil {
			return nil, err
		}
		for _, s := range jobs {
			all = append(all, conformance.Record{ID: s.ID, Task: s.Name, State: states[s.place]})
		}
	}
	return all, nil
}
