//go:build realservers

package work_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
	workexec "github.com/goairlock/airlock/executors/work"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/integration/trial"
	"github.com/goairlock/airlock/worker"
)

func TestOnRedis(t *testing.T) {
	t.Parallel()
	server := servers.Redis(t, servers.RedisOptions{Private: true})
	open := func(t *testing.T) *redis.Pool { return plain(t, server.Addr()) }
	checkEverywhere(t, true, open)
	// What is too slow elsewhere.
	for behaviour, check := range map[string]func(*testEnv){
		"a unique key is looked for among many jobs, not among all": uniqueAmongMany,
		"the largest payload is exact through the schedule":         largestPayload,
		"a Redis that is full refuses and stores nothing":           nil,
	} {
		t.Run(behaviour, func(t *testing.T) {
			t.Parallel()
			if check == nil {
				fullRedis(t)
				return
			}
			check(setup(t, open(t), "real-"+strings.Fields(behaviour)[1], workexec.Options{}))
		})
	}
}

func largestPayload(w *testEnv) {
	most := w.exec.Capabilities().MaxPayload
	texts := map[string]string{"x": strings.Repeat("x", most-2), "quotes": strings.Repeat(`\"`, most/2-1)}
	done := make(chan struct{}, len(texts))
	large := core.DeclareTask[[]byte]("test.large", soon).Codec(core.Raw)
	reg, err := worker.NewRegistry(worker.Handle(large, func(ctx context.Context, payload []byte) error {
		job, _ := worker.JobFrom(ctx)
		if string(payload) != `"`+texts[job.ID]+`"` {
			w.Errorf("%s: %d bytes arrive, and not as they were sent", job.ID, len(payload))
		}
		done <- struct{}{}
		return nil
	}))
	w.Must(err)
	w.serveWith(reg, workexec.WorkerOptions{Concurrency: 1})
	for id, text := range texts {
		in, err := large.Intent([]byte(`"`+text+`"`), core.ID(id))
		w.Must(err)
		w.Want("accepted", in)
		trial.Receive(w.Trial, done)
	}
}

// fullRedis is about a Redis without free memory.
func fullRedis(t *testing.T) {
	server := servers.Redis(t, servers.RedisOptions{Private: true})
	w := setup(t, plain(t, server.Addr()), "full", workexec.Options{})
	w.Want("accepted", w.Intent("before"))
	config := func(value string) {
		conn := w.rdb.Get()
		defer conn.Close()
		_, err := conn.Do("CONFIG", "SET", "maxmemory", value)
		w.Must(err)
	}
	config("1")
	for _, intents := range [][]core.Intent{w.Batch(0, 1), w.Batch(0, 3), {w.Intent("u", core.Unique("k"))}, {w.Intent("d", core.Delay(time.Hour))}} {
		if got, err := w.States(intents...); strings.Count(got, "not sent") != len(intents) || !strings.Contains(err.Error(), "OOM") {
			t.Errorf("%s: %v", got, err)
		}
	}
	config("0")
	if n := len(w.jobs(w.ns)); n != 1 {
		t.Errorf("%d jobs are stored, want 1", n)
	}
	w.Want("accepted", w.Intent("u", core.Unique("k")))
}

// TestADemotedRedisIsLeft turns the server into a replica. It still answers what only reads.
func TestADemotedRedisIsLeft(t *testing.T) {
	t.Parallel()
	server := servers.Redis(t, servers.RedisOptions{Private: true})
	rdb := plain(t, server.Addr())
	w := setup(t, rdb, "demoted", workexec.Options{})
	var log lines
	w.serveWith(w.Registry(trial.Succeed), workexec.WorkerOptions{Logger: log.logger()})
	w.Want("accepted", w.Intent("before"))
	w.Await(1)
	replicaOf := func(host, port string) {
		conn := rdb.Get()
		defer conn.Close()
		_, err := conn.Do("REPLICAOF", host, port)
		w.Must(err)
	}
	replicaOf("127.0.0.1", "1")
	for range 50 {
		if got, err := w.States(w.Intent("refused"), w.Intent("as well")); got != "not sent, not sent" || !strings.Contains(err.Error(), "READONLY") {
			t.Fatalf("%s: %v", got, err)
		}
		if n := rdb.IdleCount(); n > 15 {
			t.Fatalf("%d connections to a demoted server are kept", n)
		}
	}
	w.Eventually("the worker has noticed", func() bool { return log.count("level=WARN", "backend lost") > 0 })
	<-time.After(2 * time.Second)
	replicaOf("no", "one")
	w.Want("accepted", w.Intent("after"))
	w.Await(2)
	w.Eventually("the worker has noticed its return", func() bool { return log.count("backend is back") > 0 })
	if n := log.count("level=WARN"); n != 1 {
		t.Errorf("%d warnings:\n%s", n, log.all.String())
	}
}

func TestConformanceOnRedis(t *testing.T) {
	server := servers.Redis(t, servers.RedisOptions{Persistent: true})
	h := harness("work", oneRedis(server.Addr()), workexec.Options{})
	h.Restart = func(context.Context) error { return server.Restart() }
	h.New = func(t conformance.T, s conformance.Setup) conformance.System {
		lines := conformance.NewLines(t, s, server.Addr())
		sys := system(t, lines, server.Addr(), s, workexec.Options{})
		lines.SetProxies(&sys)
		return sys
	}
	conformance.Run(t, h)
}

func TestConformanceOnRedisWithLanesAndPlainArgs(t *testing.T) {
	server := servers.Redis(t, servers.RedisOptions{Private: true})
	opts := workexec.Options{Lanes: true, PlainArgs: true, IDWindow: 10 * time.Second}
	conformance.Run(t, harness("work-lanes-plain", oneRedis(server.Addr()), opts))
}
