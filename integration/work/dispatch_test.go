package work_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gocraft/work"
	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/core"
	workexec "github.com/goairlock/airlock/executors/work"
	"github.com/goairlock/airlock/integration/trial"
)

// counted makes the world's connections count their round trips.
func (w *testEnv) counted() *atomic.Int64 {
	w.Helper()
	n := new(atomic.Int64)
	dial := w.rdb.DialContext
	counting := &redis.Pool{MaxIdle: 5, DialContext: func(ctx context.Context) (redis.Conn, error) {
		conn, err := dial(ctx)
		return &countingConn{conn, n}, err
	}}
	w.Cleanup(func() { _ = counting.Close() })
	w.rdb = counting
	w.use(w.opts)
	return n
}

// A countingConn counts commands that wait for their reply, of which each is a round trip.
type countingConn struct {
	redis.Conn
	n *atomic.Int64
}

func (c *countingConn) Do(command string, args ...any) (any, error) {
	c.count(command)
	return c.Conn.Do(command, args...)
}

func (c *countingConn) DoContext(ctx context.Context, command string, args ...any) (any, error) {
	c.count(command)
	return redis.DoContext(c.Conn, ctx, command, args...)
}

func (c *countingConn) ReceiveContext(ctx context.Context) (any, error) {
	return redis.ReceiveContext(c.Conn, ctx)
}

func (c *countingConn) count(command string) {
	if command != "" { // the pool's own, when the connection is given back
		c.n.Add(1)
	}
}

func (w *testEnv) wantTrips(n *atomic.Int64, want int64) {
	w.Helper()
	if got := n.Swap(0); got != want {
		w.Errorf("%d round trips, want %d", got, want)
	}
}

func batchIsOneScript(w *testEnv) {
	trips := w.counted()
	all := w.Batch(0, 2601)
	w.Must(w.exec.Execute(w.Ctx, w.Intent("known")))
	w.do("DEL", "jobs:test.work")
	trips.Store(0)
	w.Must(w.exec.Execute(w.Ctx, all[:100]...))
	w.wantTrips(trips, 1)
	w.Must(w.exec.Execute(w.Ctx, all[100:]...))
	w.wantTrips(trips, 3)
	var want []string
	for i := range 2601 {
		want = append(want, fmt.Sprint(i))
	}
	if got := w.waiting(""); !slices.Equal(got, want) {
		w.Errorf("%d jobs wait, in another order: %v …", len(got), got[:min(len(got), 10)])
	}
}

func largePayloadsAreCutIntoChunks(w *testEnv) {
	trips := w.counted()
	w.Must(w.exec.Execute(w.Ctx, w.Intent("known")))
	trips.Store(0)
	var intents []core.Intent
	for range 5 {
		intents = append(intents, w.Intent(strings.Repeat("x", 3<<20)))
	}
	w.Must(w.exec.Execute(w.Ctx, intents...))
	w.wantTrips(trips, 3) // two of 3 MiB in each
}

func oneIntentTakesTheLibrarysRoundTrips(w *testEnv) {
	trips := w.counted()
	native := work.NewEnqueuer(w.ns, w.rdb)
	for i := range 3 {
		trips.Store(0)
		_, err := native.Enqueue("test.work", work.Q{"a": 1})
		w.Must(err)
		theirs := trips.Swap(0)
		w.Must(w.exec.Execute(w.Ctx, w.Intent("")))
		if i > 0 { // at first the library announces the name, and Redis may not know our script
			w.wantTrips(trips, theirs)
		}
	}
	w.Must(w.exec.Execute(w.Ctx, w.Intent("", core.Unique("k"), core.Delay(time.Hour))))
	w.wantTrips(trips, 1)
}

func lostScriptCache(w *testEnv) {
	all := func() int { return len(w.jobs(w.ns)) + len(w.jobs(workexec.Namespace(w.ns, "mail"))) }
	for what, opts := range map[string][]core.Option{
		"at once": nil, "in a queue": {core.Queue("mail")}, "delayed": {core.Delay(time.Hour)}, "unique": {core.Unique("k")},
	} {
		for _, n := range []int{1, 10} {
			if what == "unique" {
				n = 1
				w.do("DEL", "airlock:unique:test.work k")
			}
			conn := w.rdb.Get()
			_, err := conn.Do("SCRIPT", "FLUSH")
			w.Must(errors.Join(err, conn.Close()))
			before := all()
			w.Must(w.exec.Execute(w.Ctx, w.Batch(0, n, opts...)...))
			if got := all() - before; got != n {
				w.Errorf("%s: %d jobs of %d are stored", what, got, n)
			}
		}
	}
}

func namesAreKeptKnown(w *testEnv) {
	w.Must(w.exec.Execute(w.Ctx, w.Batch(0, 2)...))
	w.do("DEL", "known_jobs") // a Redis that has lost it
	other, err := core.DeclareTask[int]("test.other").Intent(1, core.Delay(time.Hour))
	w.Must(err)
	w.Must(w.exec.Execute(w.Ctx, w.Intent(""), other))
	names, err := redis.Strings(w.do("SMEMBERS", "known_jobs"), nil)
	w.Must(err)
	slices.Sort(names)
	if !slices.Equal(names, []string{"test.other", "test.work"}) {
		w.Errorf("known are %v", names)
	}
}

func batchOfManyQueues(w *testEnv) {
	const queues, each = 12, 20
	var intents []core.Intent
	for n := range queues * each {
		intents = append(intents, w.Intent(fmt.Sprintf("%02d", n/queues), core.Queue(fmt.Sprintf("q%d", n%queues))))
	}
	trips := w.counted()
	w.Must(w.exec.Execute(w.Ctx, w.Intent("known")))
	trips.Store(0)
	w.Must(w.exec.Execute(w.Ctx, intents...))
	w.wantTrips(trips, 1)
	for q := range queues {
		if got := w.waiting(fmt.Sprintf("q%d", q)); len(got) != each || !slices.IsSorted(got) {
			w.Errorf("queue %d has %v", q, got)
		}
	}
}

// queueNamesCollideWithNothing holds queues against the names that the library's own keys have.
func queueNamesCollideWithNothing(w *testEnv) {
	for _, queue := range []string{"jobs", "retry", "dead", "scheduled", "known_jobs", "worker_pools", "unique", "airlock", "queue"} {
		for _, name := range []string{"known_jobs", "retry", "scheduled", "test.work", "queue:jobs"} {
			in, err := core.DeclareTask[int](name).Intent(1)
			w.Must(err)
			there, err := in.With(core.ID(queue+name), core.Queue(queue))
			w.Must(err)
			w.Want("accepted, accepted", in, there)
		}
	}
}

func outcomesAreTold(w *testEnv) {
	w.Want("accepted, accepted, duplicate, accepted, duplicate, accepted",
		w.Intent("a", core.ID("x")), w.Intent("b", core.Unique("k")), w.Intent("c", core.ID("x")),
		w.Intent("d"), w.Intent("e", core.Unique("k")), w.Intent("f", core.Delay(time.Hour)))
	if _, err := w.States(w.Intent("a", core.ID("x"))); !errors.Is(err, core.ErrDuplicate) {
		w.Errorf("error %v", err)
	}
	if _, err := w.States(w.Intent("b", core.Unique("k")), w.Intent("z")); !errors.Is(err, core.ErrDuplicate) {
		w.Errorf("error %v", err)
	}
	if got := w.waiting(""); !slices.Equal(got, []string{"a", "b", "d", "z"}) {
		w.Errorf("waiting: %v", got)
	}
}

func sameIntentAgain(w *testEnv) {
	generated, chosen := w.Intent("a"), w.Intent("b", core.ID("x"))
	w.Want("accepted", generated)
	w.Want("accepted", generated)
	w.Want("accepted", chosen)
	w.Want("duplicate", chosen)
	w.Want("accepted, duplicate", generated, chosen)
	fresh := w.Intent("c")
	w.Want("accepted, accepted", fresh, fresh)
	unique := w.Intent("d", core.Unique("k"))
	w.Want("accepted", unique)
	w.Want("duplicate", unique)
	if got := w.waiting(""); !slices.Equal(got, []string{"a", "b", "c", "d"}) {
		w.Errorf("waiting: %v", got)
	}
}

func idLivesForItsWindow(w *testEnv) {
	w.use(workexec.Options{IDWindow: 700 * time.Millisecond})
	generated, chosen := w.Intent("a"), w.Intent("b", core.ID("x"))
	began := time.Now()
	w.Want("accepted, accepted", generated, chosen)
	got, err := w.States(generated, chosen)
	if time.Since(began) < 700*time.Millisecond && got != "accepted, duplicate" {
		w.Errorf("within the window: %s: %v", got, err)
	}
	<-time.After(time.Second)
	w.Want("accepted, accepted", generated, chosen)
	if got := w.waiting(""); !slices.Equal(got, []string{"a", "b", "a", "b"}) {
		w.Errorf("waiting: %v", got)
	}
	// A delay comes on top: the window begins when the job is due.
	late := w.Intent("c", core.ID("y"), core.Delay(time.Hour))
	w.Want("accepted", late)
	if left, err := redis.Int64(w.do("PTTL", "airlock:id:y"), nil); err != nil || left < time.Hour.Milliseconds() || left > (time.Hour+2*time.Second).Milliseconds() {
		w.Errorf("the ID of a job that is due in an hour is known for %d ms, %v", left, err)
	}
}

func doneContextSendsNothing(w *testEnv) {
	trips := w.counted()
	trial.DoneContextIsRefused(w.Trial)
	w.wantTrips(trips, 0)
}

// wrongTypesLeaveNothingBehind is a namespace in which somebody keeps other things.
func wrongTypesLeaveNothingBehind(w *testEnv) {
	for _, key := range []string{"jobs:test.work", "scheduled", "known_jobs"} {
		w.do("SET", key, "mine")
		good, err := core.DeclareTask[int]("test.other").Intent(1, core.Queue("mail"))
		w.Must(err)
		opts := []core.Option{core.Unique("k")}
		if key == "scheduled" {
			opts = append(opts, core.Delay(time.Hour))
		}
		bad := append([]core.Intent{good, w.Intent("u", opts...)}, w.Batch(0, 3, opts[1:]...)...)
		got, err := w.States(bad...)
		var re redis.Error
		if got != "accepted, not sent, not sent, not sent, not sent" || !errors.As(err, &re) || !strings.Contains(string(re), "WRONGTYPE") {
			w.Errorf("%s: %s: %v", key, got, err)
		}
		w.do("DEL", key)
		w.Want("accepted, accepted, accepted, accepted, accepted", bad...) // no marker or lock was left
		if n := len(w.jobs(w.ns)); n != 4 {
			w.Errorf("%s: %d jobs are stored, want 4", key, n)
		}
		for _, k := range []string{"jobs:test.work", "scheduled", "airlock:unique:test.work k"} {
			w.do("DEL", k)
		}
	}
}
