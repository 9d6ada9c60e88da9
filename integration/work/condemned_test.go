package work_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/gomodule/redigo/redis"

	workexec "github.com/goairlock/airlock/executors/work"
	"github.com/goairlock/airlock/integration/trial"
)

// An address is one behind which the server changes, as with a failover: new connections go to the new one.
type address struct{ at atomic.Pointer[string] }

func (a *address) pool(t *testing.T) *redis.Pool {
	rdb := &redis.Pool{MaxIdle: 20, DialContext: func(ctx context.Context) (redis.Conn, error) {
		return redis.DialContext(ctx, "tcp", *a.at.Load())
	}}
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// demoted makes a server answer as one that may not be written to, or not yet be asked.
func demoted(m *miniredis.Miniredis, answer string) {
	m.Server().SetPreHook(func(p *server.Peer, cmd string, _ ...string) bool {
		if strings.EqualFold(cmd, "HELLO") || strings.EqualFold(cmd, "PING") || cmd == "" {
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
		for _, mode := range []string{"NewWorker", "Register"} {
			t.Run(strings.Fields(answer)[0]+" "+mode, func(t *testing.T) {
				t.Parallel()
				before, after := miniredis.RunT(t), miniredis.RunT(t)
				var a address
				a.at.Store(new(before.Addr()))
				w := setup(t, a.pool(t), "failover", workexec.Options{})
				var log lines
				reg := w.Registry(trial.Succeed)
				opts := &workexec.WorkerOptions{Logger: log.logger()}
				if mode == "Register" {
					worker, err := workexec.Register(w.pool("", 4), reg, opts)
					w.Must(err)
					w.start(worker)
				} else {
					w.serveWith(reg, *opts)
				}
				inspector, err := workexec.NewInspector(w.rdb, &workexec.InspectorOptions{Namespace: w.ns})
				w.Must(err)
				w.Want("accepted", w.Intent("before"))
				w.Await(1)
				demoted(before, answer)
				w.Eventually("a dispatch is refused", func() bool {
					got, _ := w.States(w.Intent("refused"))
					return got == "not sent"
				})
				w.Eventually("the inspector is refused", func() bool {
					_, err := inspector.Depth(w.Ctx, "default")
					return err != nil
				})
				<-time.After(2 * time.Second)
				a.at.Store(new(after.Addr()))
				w.Eventually("dispatches are accepted", func() bool {
					got, _ := w.States(w.Intent("after"))
					return got == "accepted"
				})
				w.Eventually("jobs run again", func() bool {
					runs := w.Await(1)
					return runs[len(runs)-1].Arg == "after"
				})
				w.Eventually("the inspector looks at the new server", func() bool {
					_, err := inspector.Depth(w.Ctx, "default")
					return err == nil
				})
				if n := log.count("level=WARN"); n > 3 {
					t.Errorf("%d warnings:\n%s", n, log.all.String())
				}
			})
		}
	}
}
