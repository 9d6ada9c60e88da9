//go:build realservers

package service_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/examples/service"
	"github.com/goairlock/airlock/examples/service/web"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/internal/loopback"
)

const patience = time.Minute

var quiet = slog.New(slog.DiscardHandler)

// TestTheServiceOnEveryQueue starts the binaries, places orders, and waits for their receipts. One order is placed while no
// worker runs, and stays. Then both processes end on SIGTERM without an error.
func TestTheServiceOnEveryQueue(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", dir+string(filepath.Separator), "github.com/goairlock/airlock/examples/service/api", "github.com/goairlock/airlock/examples/service/worker")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	postgres := servers.Postgres(t, servers.PostgresOptions{})
	for name, url := range map[string]func(t *testing.T) string{
		"river": func(*testing.T) string { return "" },
		"asynq": func(t *testing.T) string {
			return "redis://" + servers.Redis(t, servers.RedisOptions{Private: true}).Addr()
		},
		"work": func(t *testing.T) string {
			return "redis://" + servers.Redis(t, servers.RedisOptions{Private: true}).Addr()
		},
		"nats": func(t *testing.T) string { return servers.NATS(t, servers.NATSOptions{Private: true}).URL() },
		"rabbitmq": func(t *testing.T) string {
			return servers.RabbitMQ(t, servers.RabbitMQOptions{}).URL()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := append(os.Environ(), "DATABASE_URL="+postgres.Database(t), "QUEUE_URL="+url(t))
			api := start(t, filepath.Join(dir, "api"), name, env)
			early := place(t, api, 100)
			work := start(t, filepath.Join(dir, "worker"), name, env)
			orders := []string{early, place(t, api, 200), place(t, api, 300)}
			for _, id := range orders {
				await(t, "the receipt of order "+id, func() bool { return order(t, api, id).Receipts == 1 })
				if o := order(t, api, id); o.Status != "paid" {
					t.Errorf("order %s is %s", id, o.Status)
				}
			}
			if res := post(t, api+"/orders/"+early+"/receipt", ""); res.StatusCode != http.StatusAccepted {
				t.Errorf("another receipt: %s", res.Status)
			}
			await(t, "another receipt", func() bool { return order(t, api, early).Receipts == 2 })
			if res := post(t, api+"/orders", `{"email":"nobody","cents":1}`); res.StatusCode != http.StatusBadRequest {
				t.Errorf("an invalid order: %s", res.Status)
			}
			if res, err := http.Get(work + "/readyz"); err != nil || res.StatusCode != http.StatusNoContent {
				t.Errorf("the worker's /readyz: %v %v", res, err)
			}
		})
	}
}

// start starts a binary and returns its address. The test fails if it does not end well on SIGTERM.
func start(t *testing.T, path, queue string, env []string) string {
	t.Helper()
	port, err := loopback.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(port.Release)
	var log lockedBuffer
	cmd := exec.Command(path, "-queue", queue, "-addr", port.Addr(), "-log", "debug")
	cmd.Env, cmd.Stderr = env, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("%s ended with %v:\n%s", filepath.Base(path), err, log.String())
			}
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			t.Errorf("%s does not end:\n%s", filepath.Base(path), log.String())
		}
		if strings.Contains(log.String(), "@example.com") {
			t.Errorf("the log of %s has an address of a customer", filepath.Base(path))
		}
	})
	address := "http://" + port.Addr()
	await(t, path+" is ready", func() bool {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s ended: %v\n%s", path, err, log.String())
		default:
		}
		res, err := http.Get(address + "/readyz")
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusNoContent
	})
	return address
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

type shownOrder struct {
	ID       string
	Status   string
	Receipts int
}

func post(t *testing.T, url, body string) *http.Response {
	t.Helper()
	res, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

func place(t *testing.T, api string, cents int) string {
	t.Helper()
	res := post(t, api+"/orders", fmt.Sprintf(`{"email":"someone@example.com","cents":%d}`, cents))
	var o shownOrder
	if err := json.NewDecoder(res.Body).Decode(&o); err != nil || res.StatusCode != http.StatusCreated || o.ID == "" {
		t.Fatalf("an order: %s, %v", res.Status, err)
	}
	return o.ID
}

func order(t *testing.T, api, id string) (o shownOrder) {
	t.Helper()
	res, err := http.Get(api + "/orders/" + id)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&o); err != nil {
		t.Fatalf("order %s: %s, %v", id, res.Status, err)
	}
	return o
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

// TestWhatTheServiceAnswersWhenItsQueueIsAway has a queue that can be switched off. What only enqueues is 503 while the queue is
// away, and 500 if the queue refuses the job.
func TestWhatTheServiceAnswersWhenItsQueueIsAway(t *testing.T) {
	t.Parallel()
	database := servers.Postgres(t, servers.PostgresOptions{}).Database(t)
	p, err := service.Open(t.Context(), service.Config{DatabaseURL: database, Queue: "river", Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close(context.Background()) })
	api := httptest.NewServer(web.API(p.Orders, p.Ready, quiet))
	t.Cleanup(api.Close)
	jobs, relay, err := p.Workers()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	t.Cleanup(func() { cancel(); all.Wait() })
	for _, run := range []func(context.Context) error{jobs.Run, relay.Run} {
		all.Go(func() {
			if err := run(ctx); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
	id := place(t, api.URL, 100)
	await(t, "the receipt", func() bool { return order(t, api.URL, id).Receipts == 1 })

	good := p.Orders.Queue
	for _, tc := range []struct {
		state core.State
		err   error
		want  int
		retry string
	}{
		{core.NotSent, core.ErrUnavailable, http.StatusServiceUnavailable, "5"},
		{core.Unknown, core.ErrUnknownOutcome, http.StatusServiceUnavailable, "5"},
		{core.Rejected, core.ErrUnsupported, http.StatusInternalServerError, ""},
	} {
		p.Orders.Queue = func(_ context.Context, intents ...core.Intent) error {
			var out []core.Outcome
			for _, in := range intents {
				out = append(out, core.Outcome{ID: in.ID, State: tc.state, Err: tc.err})
			}
			return core.Combine(out)
		}
		res := post(t, api.URL+"/orders/"+id+"/receipt", "")
		if res.StatusCode != tc.want || res.Header.Get("Retry-After") != tc.retry {
			t.Errorf("%v: %s, Retry-After %q; want %d", tc.state, res.Status, res.Header.Get("Retry-After"), tc.want)
		}
	}
	p.Orders.Queue = good
	if res := post(t, api.URL+"/orders/none/receipt", ""); res.StatusCode != http.StatusNotFound {
		t.Errorf("a receipt of no order: %s", res.Status)
	}
	if o := order(t, api.URL, id); o.Receipts != 1 {
		t.Errorf("%d receipts, want 1", o.Receipts)
	}
}
