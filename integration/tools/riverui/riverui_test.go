package riverui_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	_ "modernc.org/sqlite"
	"riverqueue.com/riverui"

	"github.com/goairlock/airlock/core"
	riverexec "github.com/goairlock/airlock/executors/river"
	"github.com/goairlock/airlock/worker"
)

var receipt = core.DeclareTask[map[string]int]("email.receipt")

// uiJob is a job in an answer of riverui's API.
type uiJob struct {
	ID       int64  `json:"id"`
	Kind     string `json:"kind"`
	Queue    string `json:"queue"`
	State    string `json:"state"`
	Priority int    `json:"priority"`
	Metadata struct {
		Airlock struct {
			ID      string            `json:"id"`
			Headers map[string]string `json:"headers"`
		} `json:"airlock"`
	} `json:"metadata"`
}

type testEnv struct {
	*testing.T
	client *river.Client[*sql.Tx]
	exec   *riverexec.Executor[*sql.Tx]
	ui     *httptest.Server
	runs   chan worker.Job
}

func setup(t *testing.T) *testEnv {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "river.db")+"?_pragma=journal_mode(WAL)")
	must(t, err)
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	driver := riversqlite.New(db)
	migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: quiet})
	must(t, err)
	_, err = migrator.Migrate(t.Context(), rivermigrate.DirectionUp, nil)
	must(t, err)

	w := &testEnv{T: t, runs: make(chan worker.Job, 10)}
	reg, err := worker.NewRegistry(worker.Handle(receipt, func(ctx context.Context, _ map[string]int) error {
		job, _ := worker.JobFrom(ctx)
		w.runs <- job
		return nil
	}))
	must(t, err)
	config := &river.Config{
		Logger: quiet, TestOnly: true, Workers: river.NewWorkers(),
		Queues: map[string]river.QueueConfig{"mail": {MaxWorkers: 2}},
	}
	must(t, riverexec.AddWorkers(config, reg, nil))
	must(t, riverexec.ConfigureClient(config))
	w.client, err = river.NewClient(driver, config)
	must(t, err)
	w.exec, err = riverexec.New(w.client, nil)
	must(t, err)

	handler, err := riverui.NewHandler(&riverui.HandlerOpts{
		Endpoints: riverui.NewEndpoints(w.client, nil), Logger: quiet, Prefix: "/riverui",
	})
	must(t, err)
	must(t, handler.Start(t.Context()))
	w.ui = httptest.NewServer(handler)
	t.Cleanup(w.ui.Close)
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// call calls riverui's API and decodes the response into answer.
func (w *testEnv) call(method, path string, body, answer any) {
	w.Helper()
	var b bytes.Buffer
	if body != nil {
		must(w.T, json.NewEncoder(&b).Encode(body))
	}
	req, err := http.NewRequestWithContext(w.Context(), method, w.ui.URL+"/riverui/api"+path, &b)
	must(w.T, err)
	req.Header.Set("Content-Type", "application/json")
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

func (w *testEnv) list(state string) []uiJob {
	w.Helper()
	var answer struct {
		Data []uiJob `json:"data"`
	}
	w.call(http.MethodGet, "/jobs?state="+state, nil, &answer)
	return answer.Data
}

func TestRiveruiListsShowsCancelsAndRetriesOurJobs(t *testing.T) {
	t.Parallel()
	w := setup(t)
	now, err := receipt.Intent(map[string]int{"order": 1}, core.Queue("mail"), core.Priority(5), core.Header("Trace", "t-1"), core.ID("order-1"))
	must(t, err)
	later, err := receipt.Intent(map[string]int{"order": 2}, core.Queue("mail"), core.Delay(time.Hour))
	must(t, err)
	must(t, w.exec.Execute(t.Context(), now, later))

	waiting, scheduled := w.list("available"), w.list("scheduled")
	if len(waiting) != 1 || len(scheduled) != 1 {
		t.Fatalf("%d available and %d scheduled jobs, want one of each", len(waiting), len(scheduled))
	}
	var shown uiJob
	w.call(http.MethodGet, fmt.Sprint("/jobs/", waiting[0].ID), nil, &shown)
	if shown.Kind != "email.receipt" || shown.Queue != "mail" || shown.Priority != 2 ||
		shown.Metadata.Airlock.ID != "order-1" || shown.Metadata.Airlock.Headers["Trace"] != "t-1" {
		t.Errorf("shown as %+v", shown)
	}

	for _, job := range []uiJob{waiting[0], scheduled[0]} {
		w.call(http.MethodPost, "/jobs/cancel", map[string]any{"ids": []string{fmt.Sprint(job.ID)}}, new(any))
	}
	if n := len(w.list("cancelled")); n != 2 {
		t.Fatalf("%d cancelled jobs, want 2", n)
	}
	err = w.exec.Execute(t.Context(), now)
	if got := core.OutcomesOf(err, []core.Intent{now})[0].State; got != core.Duplicate {
		t.Errorf("a cancelled job's ID is %v, want duplicate", got)
	}

	w.call(http.MethodPost, "/jobs/retry", map[string]any{"ids": []string{fmt.Sprint(waiting[0].ID)}}, new(any))
	must(t, w.client.Start(context.WithoutCancel(t.Context())))
	t.Cleanup(func() { _ = w.client.StopAndCancel(context.Background()) })
	select {
	case job := <-w.runs:
		if job.ID != "order-1" || job.Headers.Get("Trace") != "t-1" {
			t.Errorf("ran %+v", job)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the retried job did not run")
	}
}
