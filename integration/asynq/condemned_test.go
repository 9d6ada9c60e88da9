package asynq_test

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
	"github.com/goairlock/airlock/integration/trial"
)

// An address is one behind which the server changes, as with a failover: new connections go to the new one.
type address struct{ at atomic.Pointer[string] }

func (a *address) connect(t *testing.T, retries int) connect {
	return func() redis.UniversalClient {
		rdb := redis.NewClient(&redis.Options{
			MaxRetries: retries,
			Dialer: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", *a.at.Load())
			},
		})
		t.Cleanup(func() { _ = rdb.Close() })
		return rdb
	}
}

// demoted makes a server answer as one that may not be written to, or not yet be asked.
func demoted(m *miniredis.Miniredis, answer string) {
	m.Server().SetPreHook(func(p *server.Peer, cmd string, _ ...string) bool {
		switch strings.ToUpper(cmd) {
		case "HELLO", "PING", "CLIENT", "QUIT", "":
			return false
		}
		p.WriteError(answer)
		return true
	})
}

func TestAConnectionWhoseServerWasDemotedIsClosed(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{
		"READONLY You can't write against a read only replica.", "LOADING Redis is loading the dataset in memory",
		"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", "NOAUTH Authentication required.",
	} {
		for mode, retries := range map[string]int{"no retries": -1, "retries": 1} {
			t.Run(strings.Fields(answer)[0]+" "+mode, func(t *testing.T) {
				t.Parallel()
				before, after := miniredis.RunT(t), miniredis.RunT(t)
				var a address
				a.at.Store(new(before.Addr()))
				w := setup(t, a.connect(t, retries), nil)
				inspector, err := asynqexec.NewInspector(w.connect(), nil)
				w.Must(err)
				var log logged
				w.run(w.Registry(trial.Succeed), &asynqexec.WorkerOptions{Logger: log.logger()})
				w.Want("accepted", w.Intent("before"))
				w.Await(1)
				_, err = inspector.Queues(w.Ctx)
				w.Must(err)
				demoted(before, answer)
				refused := "not sent"
				if retries > 0 {
					refused = "unknown" // an earlier try may have been stored
				}
				for _, intents := range [][]string{{"refused"}, {"refused", "batch"}} {
					w.Eventually("a dispatch is refused", func() bool {
						got, _ := w.States(w.intents(intents...)...)
						return strings.HasPrefix(got, refused)
					})
				}
				w.Eventually("the inspector is refused", func() bool {
					_, err := inspector.Queues(w.Ctx)
					return err != nil
				})
				w.Eventually("the worker notices", func() bool { return log.lines("WARN", "backend lost") == 1 })
				a.at.Store(new(after.Addr()))
				w.Eventually("dispatches are accepted", func() bool {
					got, _ := w.States(w.Intent("after"))
					return got == "accepted"
				})
				w.Eventually("a batch is accepted", func() bool {
					got, _ := w.States(w.intents("after", "after")...)
					return got == "accepted, accepted"
				})
				w.Eventually("jobs run again", func() bool {
					runs := w.Await(1)
					return runs[len(runs)-1].Arg == "after"
				})
				w.Eventually("the inspector looks at the new server", func() bool {
					_, err := inspector.Depth(w.Ctx, "default")
					return err == nil
				})
			})
		}
	}
}

func (w *testEnv) intents(args ...string) []core.Intent {
	w.Helper()
	var all []core.Intent
	for _, arg := range args {
		all = append(all, w.Intent(arg))
	}
	return all
}
