package nats_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/core"
)

// While the leader moves, each of many keys is asked for by many at once: one job holds it, never none and never two.
func TestAUniqueKeyIsOneJobWhileTheLeaderMoves(t *testing.T) {
	t.Parallel()
	c := setupCluster(t)
	for _, move := range []struct {
		name string
		now  func()
	}{{"stepdown", c.stepDown}, {"kill -9", c.killLeader}, {"restart", c.restartLeader}} {
		c.contend(move.name, move.now)
		c.contend(move.name+", delayed", move.now, core.Delay(time.Hour))
	}
}

// contend has 20 publishers ask for each of 15 keys before, while and after the leader moves.
func (c *cluster) contend(name string, move func(), opts ...core.Option) {
	c.Helper()
	const keys, publishers = 15, 20
	var mu sync.Mutex
	won := map[string]int{} // guarded by mu
	states := map[core.State]int{}
	var wg sync.WaitGroup
	for k := range keys {
		key := fmt.Sprint(name, " ", k)
		for range publishers {
			in := c.intent(key, append(opts, core.Unique(key))...)
			wg.Go(func() {
				time.Sleep(rand.N(time.Second))
				for c.ctx.Err() == nil {
					o := core.OutcomesOf(c.exec.Execute(c.ctx, in), []core.Intent{in})[0]
					mu.Lock()
					states[o.State]++
					if o.State == core.Accepted {
						won[key]++
					}
					mu.Unlock()
					switch o.State {
					case core.Accepted, core.Duplicate:
						return
					case core.NotSent, core.Unknown:
						time.Sleep(100 * time.Millisecond)
					default:
						c.Errorf("%v: %v", o.State, o.Err)
						return
					}
				}
			})
		}
	}
	move()
	wg.Wait()
	for key, n := range won { // one may have won without hearing of it
		if n > 1 {
			c.Errorf("%s: %d jobs were accepted", key, n)
		}
	}
	var stored map[string]uint64
	c.insist(func(ctx context.Context) error {
		stream, err := c.js.Stream(ctx, streamName)
		if err != nil {
			return err
		}
		info, err := stream.Info(ctx, jetstream.WithSubjectFilter("JOBS.>"))
		if err != nil {
			return err
		}
		stored = info.State.Subjects
		return stream.Purge(ctx)
	})
	if len(stored) != keys {
		c.Errorf("%s: %d of %d keys have a job", name, len(stored), keys)
	}
	for subject, n := range stored {
		if n != 1 {
			c.Errorf("%s: %d jobs on %s", name, n, subject)
		}
	}
	c.Logf("%s: %d keys with %d publishers each: %v", name, keys, publishers, states)
}

// stepDown has the leader resign.
func (c *cluster) stepDown() {
	c.roles()
	ctx, cancel := context.WithTimeout(c.ctx, once)
	defer cancel()
	if _, err := c.conn.RequestWithContext(ctx, "$JS.API.STREAM.LEADER.STEPDOWN."+streamName, nil); err != nil {
		c.Logf("step down: %v", err) // the answer may be lost with the leader
	}
	c.roles()
}

func (c *cluster) killLeader() {
	leader, _ := c.roles()
	c.kill(leader)
	c.roles()
}

func (c *cluster) restartLeader() {
	leader, _ := c.roles()
	if err := leader.Restart(); err != nil {
		c.Error(err)
	}
	c.roles()
}
