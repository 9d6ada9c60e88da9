package asynqmon_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"
	"github.com/hibiken/asynqmon"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
	"github.com/goairlock/airlock/worker"
)

// patience bounds every wait for something that must happen. A test that passes
// never waits that long.
const patience = 2 * time.Minute

var receipt = core.DeclareTask[map[string]int]("email.receipt")

// shown is a job in an answer of asynqmon's API.
type shown struct {
	ID        string `json:"id"`
	Queue     string `json:"queue"`
	Type      string `json:"type"`
	Payload   string `json:"payload"`
	State     string `json:"state"`
	MaxRetry  int    `json:"max_retry"`
	Retried   int    `json:"retried"`
	LastError string `json:"error_message"`
}

type testEnv struct {
	*testing.T
	rdb  *redis.Client
	exec *asynqexec.Executor
	ui   *httptest.Server
	runs chan worker.Job
}

func setup(t *testing.T) *testEnv {
	t.Helper()
	m := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: m.Addr(), MaxRetries: -1, ReadTimeout: patience})
	t.Cleanup(func() { _ = rdb.Close() })
	exec, err := asynqexec.New(rdb, &asynqexec.Options{Lanes: true})
	must(t, err)
	monitor := asynqmon.New(asynqmon.Options{RootPath: "/monitor", RedisConnOpt: asynq.RedisClientOpt{Addr: m.Addr()}})
	t.Cleanup(func() { _ = monitor.Close() })
	w := &testEnv{T: t, rdb: rdb, exec: exec, ui: httptest.NewServer(monitor), runs: make(chan worker.Job, 10)}
	t.Cleanup(w.ui.Close)
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// work starts a server. A job's header Answer says whether its handler fails for
// good, fails once, or succeeds.
func (w *testEnv) work() {
	w.Helper()
	reg, err := worker.NewRegistry(worker.Handle(receipt, func(ctx context.Context, _ map[string]int) error {
		job, _ := worker.JobFrom(ctx)
		w.runs <- job
		switch job.Headers.Get("Answer") {
		case "never":
			return worker.Permanent(errors.New("no such address"))
		case "later":
			return errors.New("mail box is full")
		}
		return nil
	}))
	must(w.T, err)
	cfg := asynq.Config{
		Concurrency: 2, LogLevel: asynq.FatalLevel, Queues: asynqexec.Lanes(map[string]int{"mail": 1}),
		TaskCheckInterval: 20 * time.Millisecond, DelayedTaskCheckInterval: 50 * time.Millisecond,
	}
	must(w.T, asynqexec.ConfigureServer(&cfg, nil))
	srv := asynq.NewServerFromRedisClient(w.rdb, cfg)
	must(w.T, srv.Start(asynqexec.Handler(reg)))
	w.Cleanup(srv.Shutdown)
}

// send dispatches a job.
func (w *testEnv) send(id string, opts ...core.Option) {
	w.Helper()
	in, err := receipt.Intent(map[string]int{"order": 1}, append(opts, core.ID(id), core.Queue("mail"))...)
	must(w.T, err)
	must(w.T, w.exec.Execute(w.Context(), in))
}

// call calls asynqmon's API and decodes the response into answer, which may be nil.
func (w *testEnv) call(method, path string, answer any) {
	w.Helper()
	req, err := http.NewRequestWithContext(w.Context(), method, w.ui.URL+"/monitor/api"+path, nil)
	must(w.T, err)
	resp, err := http.DefaultClient.Do(req)
	must(w.T, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	must(w.T, err)
	if resp.StatusCode >= 300 {
		w.Fatalf("%s %s: %s: %s", method, path, resp.Status, data)
	}
	if answer != nil {
		if err := json.Unmarshal(data, answer); err != nil {
			w.Fatalf("%s %s: %v: %s", method, path, err, data)
		}
	}
}

func (w *testEnv) list(queue, state string) []shown {
	w.Helper()
	var answer struct {
		Tasks []shown `json:"tasks"`
	}
	w.call(http.MethodGet, "/queues/"+url.PathEscape(queue)+"/"+state+"_tasks", &answer)
	return answer.Tasks
}

// awaitList waits until the jobs of a state are those with these IDs.
func (w *testEnv) awaitList(queue, state string, ids ...string) []shown {
	w.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		jobs := w.list(queue, state)
		var got []string
		for _, j := range jobs {
			got = append(got, j.ID)
		}
		if strings.Join(got, " ") == strings.Join(ids, " ") {
			return jobs
		}
		if time.Now().After(end) {
			w.Fatalf("%s of %s: %v, want %v", state, queue, got, ids)
		}
	}
}

func TestAsynqmonListsAndShowsOurJobs(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.send("now", core.Header("Trace", "t-1"), core.MaxAttempts(3))
	w.send("urgent", core.Priority(9))
	w.send("scheduled", core.Delay(time.Hour))

	var queues struct {
		Queues []struct {
			Queue     string `json:"queue"`
			Size      int    `json:"size"`
			Pending   int    `json:"pending"`
			Scheduled int    `json:"scheduled"`
		} `json:"queues"`
	}
	w.call(http.MethodGet, "/queues", &queues)
	sizes := map[string]int{}
	for _, q := range queues.Queues {
		sizes[q.Queue] = q.Size
	}
	if len(sizes) != 2 || sizes["mail"] != 2 || sizes["mail}high"] != 1 {
		t.Errorf("queues %v", sizes)
	}

	waiting := w.awaitList("mail", "pending", "now")
	w.awaitList("mail}high", "pending", "urgent")
	w.awaitList("mail", "scheduled", "scheduled")
	if j := waiting[0]; j.Type != "email.receipt" || j.Payload != `{"order":1}` || j.Queue != "mail" || j.MaxRetry != 3 {
		t.Errorf("listed as %+v", j)
	}
	var one shown
	w.call(http.MethodGet, "/queues/mail/tasks/now", &one)
	if one.State != "pending" || one.Payload != `{"order":1}` || one.Type != "email.receipt" {
		t.Errorf("shown as %+v", one)
	}

	w.work()
	for range 2 {
		w.awaitRun()
	}
	w.awaitList("mail", "completed", "now")
	w.awaitList("mail}high", "completed", "urgent")
}

func TestAsynqmonRunsArchivesAndDeletesOurJobs(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.work()
	w.send("dead", core.Header("Answer", "never"))
	w.send("failed", core.Header("Answer", "later"), core.Backoff(core.Fixed(time.Hour)))
	w.send("scheduled", core.Delay(time.Hour), core.Unique("key"))
	for range 2 {
		w.awaitRun()
	}
	if j := w.awaitList("mail", "archived", "dead")[0]; j.LastError != "no such address" || j.Retried != 0 {
		t.Errorf("archived as %+v", j)
	}
	if j := w.awaitList("mail", "retry", "failed")[0]; j.LastError != "mail box is full" || j.Retried != 1 {
		t.Errorf("to be retried as %+v", j)
	}

	w.call(http.MethodPost, "/queues/mail/retry_tasks/failed:run", nil)
	if job := w.awaitRun(); job.ID != "failed" || job.Attempt != 2 {
		t.Errorf("ran %s, attempt %d", job.ID, job.Attempt)
	}
	w.call(http.MethodPost, "/queues/mail/archived_tasks/dead:run", nil)
	if job := w.awaitRun(); job.ID != "dead" {
		t.Errorf("ran %s", job.ID)
	}
	w.call(http.MethodDelete, "/queues/mail/scheduled_tasks/scheduled", nil)
	w.send("replacement", core.Delay(time.Hour), core.Unique("key")) // the key of the deleted job is free
	w.awaitList("mail", "scheduled", "replacement")
}

// awaitRun waits for the next run of a job.
func (w *testEnv) awaitRun() worker.Job {
	w.Helper()
	select {
	case job := <-w.runs:
		return job
	case <-time.After(patience):
		w.Fatal("no job runs")
		return worker.Job{}
	}
}
