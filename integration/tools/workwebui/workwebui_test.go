package workwebui_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/gocraft/work"
	"github.com/gocraft/work/webui"
	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/core"
	workexec "github.com/goairlock/airlock/executors/work"
	"github.com/goairlock/airlock/internal/loopback"
	"github.com/goairlock/airlock/worker"
)

// patience bounds every wait for something that must happen. A test that passes
// never waits that long.
const patience = 2 * time.Minute

var receipt = core.DeclareTask[map[string]int]("email.receipt")

// shown is a job in an answer of the web interface's API.
type shown struct {
	ID     string            `json:"id"`
	Name   string            `json:"name"`
	Args   map[string]string `json:"args"`
	Err    string            `json:"err"`
	RunAt  int64             `json:"run_at"`
	DiedAt int64             `json:"died_at"`
}

type testEnv struct {
	*testing.T
	rdb  *redis.Pool
	ns   string
	exec *workexec.Executor
	url  string
}

func setup(t *testing.T) *testEnv {
	t.Helper()
	m := miniredis.RunT(t)
	rdb := &redis.Pool{MaxIdle: 10, Dial: func() (redis.Conn, error) { return redis.Dial("tcp", m.Addr()) }}
	t.Cleanup(func() { _ = rdb.Close() })
	exec, err := workexec.New(rdb, &workexec.Options{Namespace: "shop"})
	must(t, err)
	port, err := loopback.Reserve()
	must(t, err)
	t.Cleanup(port.Release)
	w := &testEnv{T: t, rdb: rdb, ns: workexec.Namespace("shop", "mail"), exec: exec, url: "http://" + port.Addr()}
	server := webui.NewServer(w.ns, rdb, port.Addr())
	server.Start()
	t.Cleanup(server.Stop)
	w.eventually("the web interface answers", func() bool {
		resp, err := http.Get(w.url + "/")
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *testEnv) eventually(what string, cond func() bool) {
	w.Helper()
	for end := time.Now().Add(patience); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("never: %s", what)
		}
	}
}

// call calls the web interface's API and decodes the response into answer.
func (w *testEnv) call(method, path string, answer any) {
	w.Helper()
	req, err := http.NewRequestWithContext(w.Context(), method, w.url+path, nil)
	must(w.T, err)
	resp, err := http.DefaultClient.Do(req)
	must(w.T, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	must(w.T, err)
	if resp.StatusCode != http.StatusOK {
		w.Fatalf("%s %s: %s: %s", method, path, resp.Status, data)
	}
	if err := json.Unmarshal(data, answer); err != nil {
		w.Fatalf("%s %s: %v: %s", method, path, err, data)
	}
}

func (w *testEnv) list(path string) []shown {
	w.Helper()
	var answer struct{ Jobs []shown }
	w.call(http.MethodGet, path, &answer)
	return answer.Jobs
}

func (w *testEnv) send(n int, opts ...core.Option) {
	w.Helper()
	in, err := receipt.Intent(map[string]int{"order": n}, append(opts, core.Queue("mail"))...)
	must(w.T, err)
	must(w.T, w.exec.Execute(w.Context(), in))
}

func TestTheWebInterfaceShowsAndRetriesOurJobs(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.send(1)
	w.send(2, core.ID("later"), core.Delay(time.Hour), core.Header("Trace", "t-1"))

	var queues []work.Queue
	w.call(http.MethodGet, "/queues", &queues)
	if len(queues) != 1 || queues[0].JobName != "email.receipt" || queues[0].Count != 1 {
		t.Errorf("queues %+v", queues)
	}
	scheduled := w.list("/scheduled_jobs")
	if len(scheduled) != 1 || scheduled[0].ID != "later" || scheduled[0].Name != "email.receipt" ||
		scheduled[0].Args["airlock_payload"] != `{"order":2}` || !strings.Contains(scheduled[0].Args["airlock"], `"Trace":"t-1"`) ||
		time.Until(time.Unix(scheduled[0].RunAt, 0)) < 50*time.Minute {
		t.Errorf("scheduled %+v", scheduled)
	}

	runs, open := make(chan worker.Job, 10), make(chan struct{})
	var deaths atomic.Int64
	reg, err := worker.NewRegistry(worker.Handle(receipt, func(ctx context.Context, args map[string]int) error {
		job, _ := worker.JobFrom(ctx)
		runs <- job
		switch {
		case args["order"] == 1:
			<-open
		case args["order"] == 3 && deaths.Add(1) == 1:
			return worker.Permanent(errors.New("declined"))
		case args["order"] == 4:
			return errors.New("declined")
		}
		return nil
	}))
	must(t, err)
	worker, err := workexec.NewWorker(w.rdb, reg, &workexec.WorkerOptions{
		Namespace: "shop", Queues: []string{"mail"}, Concurrency: 2, Logger: slog.New(slog.DiscardHandler),
	})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-ended)
	})

	w.eventually("the running job is shown", func() bool {
		var busy []work.WorkerObservation
		w.call(http.MethodGet, "/busy_workers", &busy)
		return len(busy) == 1 && busy[0].JobName == "email.receipt" && strings.Contains(busy[0].ArgsJSON, "order")
	})
	var pools []work.WorkerPoolHeartbeat
	w.call(http.MethodGet, "/worker_pools", &pools)
	if len(pools) != 1 || len(pools[0].JobNames) != 1 || pools[0].JobNames[0] != "email.receipt" || pools[0].Concurrency != 2 {
		t.Errorf("pools %+v", pools)
	}
	close(open)

	w.send(3, core.ID("dies"))
	w.send(4, core.ID("retries"), core.Backoff(core.Fixed(time.Hour)))
	w.eventually("dead and retried jobs are shown", func() bool { return len(w.list("/dead_jobs")) == 1 && len(w.list("/retry_jobs")) == 1 })
	dead, retried := w.list("/dead_jobs")[0], w.list("/retry_jobs")[0]
	if dead.ID != "dies" || dead.Err != "declined" || dead.Args["airlock_payload"] != `{"order":3}` || retried.ID != "retries" || retried.Err != "declined" {
		t.Errorf("dead %+v, retried %+v", dead, retried)
	}
	w.call(http.MethodPost, fmt.Sprintf("/retry_dead_job/%d/%s", dead.DiedAt, dead.ID), new(any))
	w.eventually("the job that was retried by hand has run", func() bool { return len(runs) == 4 && len(w.list("/dead_jobs")) == 0 })
	for range 3 {
		<-runs
	}
	if job := <-runs; job.ID != "dies" || job.Attempt != 1 {
		t.Errorf("ran %+v", job)
	}
}
