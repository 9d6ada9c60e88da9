//go:build realservers

package celery_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/conformance/faultproxy"
	"github.com/goairlock/airlock/core"
	celeryexec "github.com/goairlock/airlock/executors/celery"
	"github.com/goairlock/airlock/integration/servers"
)

// TestConformance tests the executor and the worker in Go. Not parallel: the suite
// looks for goroutines that are left behind.
func TestConformance(t *testing.T) {
	server := servers.Redis(t, servers.RedisOptions{Persistent: true})
	conformance.Run(t, conformance.Harness{
		Scale: 10, Settle: 300 * time.Millisecond, // Scale bounds only what a green run does not use up, but for Settle
		Subject: conformance.Subject{
			Name: "celery-go", Module: "github.com/goairlock/airlock/executors/celery", Backend: "redis",
			Settings: map[string]string{"library": "go-redis v9.14.1", "worker": "celeryexec"},
		},
		Restart:        func(context.Context) error { return server.Restart() },
		RefusesJSON:    true,
		RewritesJSON:   true,                    // white space around the arguments is not in the message
		RecoversWithin: 1500 * time.Millisecond, // times Scale: the visibility timeout and a look for such jobs
		ParksFor:       2 * time.Second,
		Lease:          visibility,
		Lacks:          map[string]string{"System.Later": noEnvelope},
		Golden: golden("golden", func(ctx context.Context, namespace string, recorded []byte) error {
			return put(ctx, server.Addr(), namespace, recorded)
		}),
		New: func(t conformance.T, s conformance.Setup) conformance.System {
			return goSystem(t, server.Addr(), s)
		},
		Native: &conformance.Native{
			Produce: func(ctx context.Context, namespace, task string, payload []byte) error {
				return put(ctx, server.Addr(), namespace, message(task, payload, nil))
			},
			Consume: func(ctx context.Context, namespace string) (string, []byte, error) {
				return consume(ctx, server.Addr(), namespace)
			},
		},
	})
}

// noEnvelope is why no message has an envelope of a later version.
const noEnvelope = "a job is a message of Celery's protocol, whose version is Celery's, and has no envelope of airlock"

func goSystem(t conformance.T, addr string, s conformance.Setup) conformance.System {
	lines := conformance.NewLines(t, s, addr)
	opts := options(s.Namespace)
	opts.QueueNames = s.NativeNames
	exec, err := celeryexec.New(client(t, lines.ExecutorAddr, nil), &opts)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	slots := s.Slots
	if slots == 0 {
		slots = 8
	}
	workerAddr, freeze := lines.WorkerAddr, (func() (func() error, error))(nil)
	if s.Freezes {
		workerAddr, freeze = freezable(t, addr)
	}
	wire := &faultproxy.Dialer{}
	w, err := celeryexec.NewWorker(client(t, workerAddr, wire), s.Registry, &celeryexec.WorkerOptions{
		Redis: opts.Redis, QueueNames: opts.QueueNames, Queues: distinct(s.QueueNames("default")), Concurrency: slots, DrainTimeout: 10 * time.Second,
		Backoff: core.Fixed(100 * time.Millisecond), ParkFor: time.Second, PollInterval: 50 * time.Millisecond, Logger: quiet,
	})
	if err != nil {
		t.Fatalf("NewWorker: %v", err)
	}
	direct := client(t, addr, nil)
	sys := conformance.System{
		Exec: exec.Execute, Caps: exec.Capabilities(), Slots: slots,
		NativeNames: true, Freeze: freeze,
		Kill: func() error { wire.Cut(); return nil },
		Stored: func(ctx context.Context) ([]conformance.Record, error) {
			return stored(ctx, direct, opts.Redis.KeyPrefix)
		},
		Corrupt: func(ctx context.Context, task string) error {
			return direct.LPush(ctx, opts.Redis.KeyPrefix+"celery", message(task, []byte("{"), nil)).Err()
		},
	}
	conformance.RunWorker(t, s, &sys, w.Run)
	lines.SetProxies(&sys)
	return sys
}

// freezable is a way to a server on which a worker loses all that it sends, from the
// freeze to the thaw. Nothing keeps its jobs meanwhile, so they go to another worker.
func freezable(t conformance.T, addr string) (way string, freeze func() (thaw func() error, err error)) {
	proxy, err := faultproxy.New(addr)
	if err != nil {
		t.Fatalf("proxy: %v", err)
	}
	t.Cleanup(proxy.Close)
	return proxy.Addr(), func() (func() error, error) {
		proxy.LoseRequests()
		return proxy.Heal, nil
	}
}

// golden are messages that Celery's own producers stored, for the suite's task. put
// stores one, as it was recorded, in the default queue of a namespace.
func golden(folder string, put func(ctx context.Context, namespace string, recorded []byte) error) []conformance.Golden {
	list := []conformance.Golden{
		{Name: "one", ID: "golden-one", Payload: []byte(`{"a": [1]}`), Headers: map[string]string{"Color": "red"}},
		{Name: "kwargs", ID: "golden-kwargs", Payload: []byte(`{"order": 17, "to": "\u00e9\u4e16"}`)},
	}
	for i := range list {
		file := filepath.Join("../../executors/celery/testdata", folder, list[i].Name+".json")
		list[i].Put = func(ctx context.Context, namespace string) error {
			recorded, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			return put(ctx, namespace, bytes.ReplaceAll(recorded, []byte(`"golden.task"`), []byte(`"conformance.golden"`)))
		}
	}
	return list
}

// distinct leaves out what is listed again, which our worker refuses.
func distinct(queues []string) (list []string) {
	for _, q := range queues {
		if !slices.Contains(list, q) {
			list = append(list, q)
		}
	}
	return list
}

// message is what a producer stores that knows nothing of airlock. args are the
// arguments of the function, as JSON.
func message(task string, args []byte, headers map[string]any) []byte {
	all := map[string]any{
		"lang": "py", "task": task, "id": fmt.Sprintf("native-%d", time.Now().UnixNano()), "eta": nil, "expires": nil, "retries": 0,
		"timelimit": []any{nil, nil}, "argsrepr": "()", "kwargsrepr": "{}",
	}
	for k, v := range headers {
		all[k] = v
	}
	body := fmt.Sprintf(`[[%s], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]`, args)
	data, err := json.Marshal(map[string]any{
		"body": base64.StdEncoding.EncodeToString([]byte(body)), "content-encoding": "utf-8", "content-type": "application/json", "headers": all,
		"properties": map[string]any{
			"correlation_id": all["id"], "delivery_mode": 2, "delivery_info": map[string]any{"exchange": "", "routing_key": "celery"},
			"priority": 0, "body_encoding": "base64", "delivery_tag": fmt.Sprintf("tag-%v", all["id"]),
		},
	})
	if err != nil {
		panic(err)
	}
	return data
}

func put(ctx context.Context, addr, namespace string, data []byte) error {
	rdb := redis.NewClient(&redis.Options{Addr: addr})
	defer rdb.Close()
	return rdb.LPush(ctx, namespace+":celery", data).Err()
}

// consume takes one job as a program does that knows nothing of airlock.
func consume(ctx context.Context, addr, namespace string) (task string, payload []byte, err error) {
	rdb := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true})
	defer rdb.Close()
	got, err := rdb.BRPop(ctx, 0, namespace+":celery", namespace+":celery\x06\x163").Result()
	if err != nil {
		return "", nil, err
	}
	var m struct {
		Body    []byte
		Headers struct{ Task string }
	}
	var parts []json.RawMessage
	if err := json.Unmarshal([]byte(got[1]), &m); err != nil {
		return "", nil, err
	}
	if err := json.Unmarshal(m.Body, &parts); err != nil {
		return "", nil, err
	}
	if len(parts) != 3 {
		return "", nil, errors.New("no body of version 2")
	}
	var args []json.RawMessage
	if err := json.Unmarshal(parts[0], &args); err != nil {
		return "", nil, err
	}
	if len(args) == 1 {
		return m.Headers.Task, args[0], nil
	}
	return m.Headers.Task, parts[1], nil
}

// TestConformanceWithCelery tests the executor with Celery's own workers.
//
// A Celery worker takes seconds to start and to stop, so it takes five minutes. It runs
// with more effort, as in make faults and make soak, and where a report is wanted, as in
// make matrix. Celery's own workers and producers are in the other tests as well.
func TestConformanceWithCelery(t *testing.T) {
	if !thorough() {
		t.Skip("it takes five minutes: set CONFORMANCE_EFFORT or CONFORMANCE_REPORT")
	}
	shop := newWorkshop(t)
	server := servers.Redis(t, servers.RedisOptions{Persistent: true})
	conformance.Run(t, conformance.Harness{
		Scale: 20, Settle: 150 * time.Millisecond,
		Subject: conformance.Subject{
			Name: "celery-python", Module: "github.com/goairlock/airlock/executors/celery", Backend: "redis",
			Settings: map[string]string{"library": "go-redis v9.14.1", "worker": "Celery 5.2.6, prefork, acks_late, a worker_consumer that keeps unknown tasks"},
		},
		Restart:        func(context.Context) error { return server.Restart() },
		RecoversWithin: 2 * celeryVisibility, // the visibility timeout and a look for such jobs, every 10 seconds
		RefusesJSON:    true,
		RewritesJSON:   true,
		ParksFor:       2 * time.Second,
		Lacks: lacksOfCelery(map[string]string{
			"Lease":         "a Celery worker does not renew its hold on a job: one that runs for longer than the visibility timeout runs in another worker too",
			"System.Freeze": "kombu acknowledges a job by its delivery tag, which it keeps in another worker: a worker that has lost a job ends it there",
		}),
		Golden: golden("golden", func(ctx context.Context, namespace string, recorded []byte) error {
			return put(ctx, server.Addr(), namespace, recorded)
		}),
		New: func(t conformance.T, s conformance.Setup) conformance.System {
			return celerySystem(t, shop, server.Addr(), s)
		},
		Native: &conformance.Native{
			Produce: func(ctx context.Context, namespace, task string, payload []byte) error {
				return put(ctx, server.Addr(), namespace, message(task, payload, nil))
			},
			Consume: func(ctx context.Context, namespace string) (string, []byte, error) {
				return consume(ctx, server.Addr(), namespace)
			},
		},
	})
}

// lacksOfCelery says why checks are not run with a Celery worker.
func lacksOfCelery(reasons map[string]string) map[string]string {
	reasons["System.Later"] = noEnvelope
	reasons["Observers"] = "a Celery worker keeps the messages of unknown tasks itself"
	reasons["System.Proxy"] = "how a Celery worker gets over a broken connection is Celery's, and the executor's own are broken in the set-ups with our worker"
	return reasons
}

// celeryVisibility is longer than any job of the suite: Celery gives a job that runs
// for longer to another worker too.
const celeryVisibility = time.Minute

// celerySystem has no proxies. How Celery gets over a broken connection is not ours,
// and the executor's own connections are broken in TestConformance.
func celerySystem(t conformance.T, shop *workshop, addr string, s conformance.Setup) conformance.System {
	opts := options(s.Namespace)
	opts.Redis.VisibilityTimeout, opts.QueueNames = celeryVisibility, s.NativeNames
	direct := client(t, addr, nil)
	exec, err := celeryexec.New(direct, &opts)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	slots := s.Slots
	if slots == 0 {
		slots = 2
	}
	queues, portable := nativeQueues(s.QueueNames("default"), s.NativeNames)
	w, err := newCeleryWorker(t, shop, spec{
		Broker: "redis://" + addr + "/0", Prefix: opts.Redis.KeyPrefix, Visibility: celeryVisibility.Seconds(),
		Queues: queues, Tasks: s.Registry.Tasks(), Concurrency: slots, Late: true, Attempts: opts.Attempts,
	}, portable, s.Registry)
	if err != nil {
		t.Fatalf("worker: %v", err)
	}
	sys := conformance.System{
		Exec: exec.Execute, Caps: exec.Capabilities(), Slots: slots, NativeNames: true,
		Stop: w.stop, Kill: w.kill,
		Corrupt: func(ctx context.Context, task string) error {
			return direct.LPush(ctx, opts.Redis.KeyPrefix+"celery", message(task, []byte("{"), nil)).Err()
		},
	}
	if s.Paused {
		sys.Start = func(context.Context) error { return w.start() }
	} else if err := w.start(); err != nil {
		t.Fatalf("worker: %v", err)
	}
	return sys
}
