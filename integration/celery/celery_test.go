//go:build realservers

package celery_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/conformance/faultproxy"
	"github.com/goairlock/airlock/core"
	celeryexec "github.com/goairlock/airlock/executors/celery"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/worker"
)

const (
	prefix   = "p:"
	patience = 2 * time.Minute
)

var testTask = core.DeclareTask[json.RawMessage]("test.task")

// produce sends tasks with Celery's own producer. broker is a URL, and a key prefix on
// Redis.
func produce(t *testing.T, broker []string, tasks ...map[string]any) {
	t.Helper()
	requireCelery(t)
	var lines bytes.Buffer
	for _, task := range tasks {
		if err := json.NewEncoder(&lines).Encode(task); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(python, append([]string{"testdata/produce.py"}, broker...)...)
	cmd.Stdin = &lines
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// work runs a Go worker until the test ends, or stop is called, which waits for its end.
func work(t *testing.T, rdb *redis.Client, opts celeryexec.WorkerOptions, fn func(ctx context.Context, job worker.Job, args json.RawMessage) error) (stop func() error) {
	t.Helper()
	reg, err := worker.NewRegistry(worker.Handle(testTask, func(ctx context.Context, args json.RawMessage) error {
		job, _ := worker.JobFrom(ctx)
		return fn(ctx, job, args)
	}))
	if err != nil {
		t.Fatal(err)
	}
	opts.Redis.KeyPrefix, opts.Logger, opts.PollInterval = prefix, quiet, 20*time.Millisecond
	w, err := celeryexec.NewWorker(rdb, reg, &opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return stop
}

func receive[V any](t *testing.T, c <-chan V) V {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not in time", what)
		}
	}
}

func TestGoRunsTheJobsOfPythonProducers(t *testing.T) {
	t.Parallel()
	server := servers.Redis(t, servers.RedisOptions{Private: true})
	due := time.Now().Add(3 * time.Second).UTC().Truncate(time.Microsecond)
	produce(t, []string{"redis://" + server.Addr() + "/0", prefix},
		map[string]any{"name": "test.task", "args": []any{17}, "task_id": "one", "headers": map[string]any{"Color": "red"}},
		map[string]any{"name": "test.task", "args": []any{17, "x"}, "task_id": "two"},
		map[string]any{"name": "test.task", "kwargs": map[string]any{"order": 17}, "task_id": "keywords"},
		map[string]any{"name": "test.task", "args": []any{"later"}, "task_id": "later", "eta": due.Format("2006-01-02T15:04:05.000000Z")},
		map[string]any{"name": "test.task", "args": []any{1}, "kwargs": map[string]any{"b": 2}, "task_id": "both"},
		map[string]any{"name": "test.task", "args": []any{1}, "task_id": "late", "expires": -5},
	)
	type ran struct {
		id, args, color string
		at              time.Time
	}
	runs := make(chan ran, 10)
	rdb := client(t, server.Addr(), nil)
	work(t, rdb, celeryexec.WorkerOptions{}, func(_ context.Context, job worker.Job, args json.RawMessage) error {
		runs <- ran{job.ID, string(args), job.Headers.Get("Color"), time.Now()}
		return nil
	})
	got := map[string]ran{}
	for range 4 {
		r := receive(t, runs)
		got[r.id] = r
	}
	for id, want := range map[string]string{"one": "17", "two": `[17, "x"]`, "keywords": `{"order": 17}`, "later": `"later"`} {
		if got[id].args != want {
			t.Errorf("%s got %s, want %s", id, got[id].args, want)
		}
	}
	if got["one"].color != "red" || got["later"].at.Before(due) {
		t.Errorf("header %q; the job of %v ran at %v", got["one"].color, due, got["later"].at)
	}
	await(t, "the jobs are acknowledged", func() bool { return rdb.HLen(t.Context(), prefix+"unacked").Val() == 0 })
	dead := rdb.LRange(t.Context(), prefix+celeryexec.DeadQueue("celery"), 0, -1).Val()
	all := strings.Join(dead, " ")
	if len(dead) != 2 || !strings.Contains(all, "positional and keyword") || !strings.Contains(all, "deadline") {
		t.Errorf("dead jobs: %s", all)
	}
}

// Celery's workers and ours on one queue run each job once, and each brings back the
// jobs of the other one if that is killed.
func TestBesideCeleryWorkers(t *testing.T) {
	t.Parallel()
	server, shop := servers.Redis(t, servers.RedisOptions{Private: true}), newWorkshop(t)
	rdb := client(t, server.Addr(), nil)
	exec, err := celeryexec.New(rdb, &celeryexec.Options{Redis: celeryexec.RedisOptions{KeyPrefix: prefix, VisibilityTimeout: visibility}})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	inGo, inPython := map[string]int{}, map[string]int{}               // guarded by mu
	held, holding := make(chan string, 10), map[string]chan struct{}{} // guarded by mu
	letGo := func(id string) {
		mu.Lock()
		defer mu.Unlock()
		close(holding[id])
		delete(holding, id)
	}
	note := func(runs map[string]int, ctx context.Context, args json.RawMessage) error {
		job, _ := worker.JobFrom(ctx)
		mu.Lock()
		runs[job.ID]++
		first := inGo[job.ID]+inPython[job.ID] == 1
		end := make(chan struct{})
		if string(args) == `"hold"` && first {
			holding[job.ID] = end
		}
		mu.Unlock()
		if string(args) == `"hold"` && first {
			held <- job.ID
			select {
			case <-end:
			case <-ctx.Done():
			}
			return errors.New("the worker was killed")
		}
		time.Sleep(10 * time.Millisecond) // so that both get some
		return nil
	}
	reg, err := worker.NewRegistry(worker.Handle(testTask, func(ctx context.Context, args json.RawMessage) error { return note(inPython, ctx, args) }))
	if err != nil {
		t.Fatal(err)
	}
	start := func() *celeryWorker {
		queues, portable := nativeQueues(nil, nil)
		w, err := newCeleryWorker(t, shop, spec{
			Broker: "redis://" + server.Addr() + "/0", Prefix: prefix, Visibility: visibility.Seconds(),
			Queues: queues, Tasks: reg.Tasks(), Concurrency: 1, Late: true, Attempts: 25,
		}, portable, reg)
		if err == nil {
			err = w.start()
		}
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	send := func(n int, args string) {
		t.Helper()
		var intents []core.Intent
		for range n {
			in, err := testTask.Intent(json.RawMessage(args))
			if err != nil {
				t.Fatal(err)
			}
			intents = append(intents, in)
		}
		if err := exec.Execute(t.Context(), intents...); err != nil {
			t.Fatal(err)
		}
	}
	total := func() (goRuns, pythonRuns int) {
		mu.Lock()
		defer mu.Unlock()
		return len(inGo), len(inPython)
	}
	// The job of a Celery worker that is killed runs in the Go worker.
	python := start()
	send(1, `"hold"`)
	id := receive(t, held)
	if err := python.kill(); err != nil {
		t.Fatal(err)
	}
	wire := &faultproxy.Dialer{}
	work(t, client(t, server.Addr(), wire), celeryexec.WorkerOptions{
		Concurrency: 1, Redis: celeryexec.RedisOptions{VisibilityTimeout: visibility}, DrainTimeout: -1,
	}, func(ctx context.Context, _ worker.Job, args json.RawMessage) error { return note(inGo, ctx, args) })
	await(t, "the Go worker runs the job of the Celery worker", func() bool { mu.Lock(); defer mu.Unlock(); return inGo[id] == 1 })
	// Both work, and each job runs once.
	start()
	await(t, "the Celery worker works", func() bool { send(20, `1`); time.Sleep(200 * time.Millisecond); _, n := total(); return n > 1 })
	await(t, "all jobs have run", func() bool {
		return rdb.HLen(t.Context(), prefix+"unacked").Val() == 0 && rdb.LLen(t.Context(), prefix+"celery").Val() == 0
	})
	mu.Lock()
	for id := range inGo {
		if n := inGo[id] + inPython[id]; n != 1 && !(n == 2 && inPython[id] == 1) {
			t.Errorf("%s ran %d times", id, n)
		}
	}
	mu.Unlock()
	// The job of the Go worker, when that is killed, runs in the Celery worker.
	for {
		send(1, `"hold"`)
		id = receive(t, held)
		mu.Lock()
		mine := inGo[id] == 1
		mu.Unlock()
		if mine {
			break
		}
		letGo(id) // the Celery worker has it
	}
	wire.Cut()
	letGo(id)
	await(t, "the Celery worker runs the job of the Go worker", func() bool { mu.Lock(); defer mu.Unlock(); return inPython[id] == 1 })
}

// A broker that is not Celery's is noticed.
func TestCheckServer(t *testing.T) {
	t.Parallel()
	server := servers.Redis(t, servers.RedisOptions{Private: true})
	rdb := client(t, server.Addr(), nil)
	exec, err := celeryexec.New(rdb, nil)
	if err != nil {
		t.Fatal(err)
	}
	check := func(want string) {
		t.Helper()
		err := exec.CheckServer(t.Context(), "default")
		if want == "" && err != nil || want != "" && (!errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), want)) {
			t.Errorf("CheckServer: %v, want %q in it", err, want)
		}
	}
	check("no Celery worker has consumed")
	if err := rdb.SAdd(t.Context(), "_kombu.binding.celery", "celery\x06\x16\x06\x16celery").Err(); err != nil { // as a Celery worker does
		t.Fatal(err)
	}
	check("")
	if err := rdb.Set(t.Context(), "celery\x06\x163", "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	check("is a string, want a list")
	in, err := testTask.Intent(json.RawMessage(`1`))
	if err != nil {
		t.Fatal(err)
	}
	if err := rdb.Set(t.Context(), "celery", "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	var failed *core.DispatchError
	if err := exec.Execute(t.Context(), in); !errors.As(err, &failed) || failed.Outcomes[0].State != core.Rejected || !errors.Is(err, core.ErrInvalid) {
		t.Errorf("a key that is no list: %v", err)
	}
	if _, err := celeryexec.New(redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{server.Addr()}}), nil); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("a cluster: %v", err)
	}
}
