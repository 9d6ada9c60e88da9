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
)

func TestOnRedis(t *testing.T) {
	t.Parallel()
	server := servers.Redis(t, servers.RedisOptions{Private: true})
	open := func(t *testing.T) *redis.Pool { return plain(t, server.Addr()) }
	checkEverywhere(t, true, open)
	// What is too slow elsewhere.
	for behaviour, check := range map[string]func(*world){
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

func largestPayload(w *world) {
	most := w.exec.Capabilities().MaxPayload
	texts := map[string]string{"x": strings.Repeat("x", most-2), "quotes": strings.Repeat(`\"`, most/2-1)}
	done := make(chan struct{}, len(texts))
	large := core.DeclareTask[[]byte]("test.large", soon).Codec(core.Raw)
	reg, err := core.NewRegistry(core.Handle(large, func(ctx context.Context, payload []byte) error {
		job, _ := core.JobFrom(ctx)
		if string(payload) != `"`+texts[job.ID]+`"` {
			w.Errorf("%s: %d bytes arrive, and not as they were sent", job.ID, len(payload))
		}
		done <- struct{}{}
		return nil
	}))
	w.Must(err)
	w.serveOn(w.pool("", 1), reg)
	for id, text := range texts {
		in, err := large.Intent([]byte(`"`+text+`"`), core.ID(id))
		w.Must(err)
		w.Want("accepted", in)
		trial.Receive(w.Trial, done)
	}
}

// fullRedis tells what Redis 7 answers when it has no memory left.
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

func TestConformanceOnRedis(t *testing.T) {
	server := servers.Redis(t, servers.RedisOptions{Persistent: true})
	h := harness("work", oneRedis(server.Addr()), workexec.Options{})
	h.Restart = func(context.Context) error { return server.Restart() }
	h.New = func(t conformance.T, s conformance.Setup) conformance.System {
		lines := servers.NewLines(t, s, server.Addr())
		sys := system(t, lines, server.Addr(), s, workexec.Options{})
		lines.Give(&sys)
		return sys
	}
	conformance.Run(t, h)
}

func TestConformanceOnRedisWithLanesAndPlainArgs(t *testing.T) {
	server := servers.Redis(t, servers.RedisOptions{Private: true})
	opts := workexec.Options{Lanes: true, PlainArgs: true, IDWindow: 10 * time.Second}
	conformance.Run(t, harness("work-lanes-plain", oneRedis(server.Addr()), opts))
}
