package airlockhttp_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/airlockhttp"
	"github.com/goairlock/airlock/core"
)

var task = core.DeclareTask[string]("test.task")

// world is a real server whose requests run in scopes.
type world struct {
	*httptest.Server
	flushed chan []core.Intent // one for each flush
	failed  chan error         // one for each call of OnError
}

func setup(t *testing.T, exec core.Executor, handler http.HandlerFunc) *world {
	t.Helper()
	w := &world{flushed: make(chan []core.Intent, 10), failed: make(chan error, 10)}
	if exec == nil {
		exec = func(_ context.Context, intents ...core.Intent) error { w.flushed <- intents; return nil }
	}
	wrap := airlockhttp.Middleware(exec, &airlockhttp.Options{
		OnError: func(_ *http.Request, err error) { w.failed <- err },
	})
	w.Server = httptest.NewUnstartedServer(wrap(handler))
	w.Config.ErrorLog = log.New(io.Discard, "", 0)
	w.Start()
	t.Cleanup(w.Close)
	return w
}

func (w *world) get(t *testing.T) (status int, body string) {
	t.Helper()
	res, err := w.Client().Get(w.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// settled returns how many intents left, after all requests have ended.
func (w *world) settled() int {
	w.Close()
	n := 0
	for len(w.flushed) > 0 {
		n += len(<-w.flushed)
	}
	return n
}

func enqueue(t *testing.T, ctx context.Context) {
	t.Helper()
	if err := airlock.Enqueue(ctx, task, "a"); err != nil {
		t.Error(err)
	}
}

func TestTheStatusDecides(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		answer func(w http.ResponseWriter)
		status int
		left   int
	}{
		{"nothing written", func(http.ResponseWriter) {}, 200, 1},
		{"a body", func(w http.ResponseWriter) { io.WriteString(w, "hello") }, 200, 1},
		{"created", func(w http.ResponseWriter) { w.WriteHeader(201) }, 201, 1},
		{"redirect", func(w http.ResponseWriter) { w.WriteHeader(303) }, 303, 1},
		{"bad request", func(w http.ResponseWriter) { http.Error(w, "no", 400) }, 400, 0},
		{"server error", func(w http.ResponseWriter) { w.WriteHeader(503) }, 503, 0},
		{"informational first", func(w http.ResponseWriter) { w.WriteHeader(103); w.WriteHeader(404) }, 404, 0},
		{"the first of two", func(w http.ResponseWriter) { w.WriteHeader(202); w.WriteHeader(500) }, 202, 1},
		{"copied body", func(w http.ResponseWriter) { io.Copy(w, strings.NewReader("hello")) }, 200, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := setup(t, nil, func(w http.ResponseWriter, r *http.Request) {
				enqueue(t, r.Context())
				tc.answer(w)
			})
			if status, _ := w.get(t); status != tc.status {
				t.Errorf("status %d, want %d", status, tc.status)
			}
			if left := w.settled(); left != tc.left {
				t.Errorf("%d intents left, want %d", left, tc.left)
			}
		})
	}
}

func TestAPanicDiscards(t *testing.T) {
	t.Parallel()
	w := setup(t, nil, func(w http.ResponseWriter, r *http.Request) {
		enqueue(t, r.Context())
		panic(http.ErrAbortHandler)
	})
	if res, err := w.Client().Get(w.URL); err == nil {
		res.Body.Close()
		t.Error("the request succeeded")
	}
	if left := w.settled(); left != 0 {
		t.Errorf("%d intents left", left)
	}
}

func TestAClientThatHangsUpDoesNotCutTheFlush(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{})
	flushErr := make(chan error, 1)
	exec := func(ctx context.Context, _ ...core.Intent) error {
		_, limited := ctx.Deadline()
		if !limited {
			t.Error("the flush has no limit")
		}
		flushErr <- ctx.Err()
		return nil
	}
	w := setup(t, exec, func(_ http.ResponseWriter, r *http.Request) {
		enqueue(t, r.Context())
		close(arrived)
		<-r.Context().Done() // the server has noticed
	})
	ctx, hangUp := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if res, err := w.Client().Do(req); err == nil {
			res.Body.Close()
			t.Error("the request was answered")
		}
	})
	<-arrived
	hangUp()
	if err := <-flushErr; err != nil {
		t.Errorf("the flush saw %v", err)
	}
	wg.Wait()
}

func TestAFailedFlushReachesTheClientWhileNothingIsWritten(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		answer func(w http.ResponseWriter)
		status int
	}{
		{"nothing", func(http.ResponseWriter) {}, 500},
		{"a status alone", func(w http.ResponseWriter) { w.Header().Set("Etag", "x"); w.WriteHeader(201) }, 500},
		{"a body", func(w http.ResponseWriter) { w.WriteHeader(201); io.WriteString(w, "made") }, 201},
		{"a flushed status", func(w http.ResponseWriter) {
			w.WriteHeader(201)
			if err := http.NewResponseController(w).Flush(); err != nil {
				panic(err)
			}
		}, 201},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			down := func(context.Context, ...core.Intent) error { return core.ErrUnavailable }
			w := setup(t, down, func(w http.ResponseWriter, r *http.Request) {
				enqueue(t, r.Context())
				tc.answer(w)
			})
			if status, body := w.get(t); status != tc.status || strings.Contains(body, "unavailable") {
				t.Errorf("status %d, want %d; body %q", status, tc.status, body)
			}
			err := <-w.failed
			var fe *airlock.FlushError
			if !errors.As(err, &fe) || len(fe.Undelivered) != 1 {
				t.Errorf("OnError got %v", err)
			}
		})
	}
}

func TestAScopeThatCannotBeOpenedIsToldToBoth(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string]func(onError func(*http.Request, error)) http.Handler{
		"no executor": func(onError func(*http.Request, error)) http.Handler {
			return airlockhttp.Middleware(nil, &airlockhttp.Options{OnError: onError})(http.NotFoundHandler())
		},
		"no handler": func(onError func(*http.Request, error)) http.Handler {
			exec := func(context.Context, ...core.Intent) error { return nil }
			return airlockhttp.Middleware(exec, &airlockhttp.Options{OnError: onError})(nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var told error
			h := wrap(func(_ *http.Request, err error) { told = err })
			res := httptest.NewRecorder()
			h.ServeHTTP(res, httptest.NewRequest(http.MethodGet, "/", nil))
			if res.Code != 500 || told == nil {
				t.Errorf("status %d, told %v", res.Code, told)
			}
		})
	}
	res := httptest.NewRecorder() // and without options the error is logged
	airlockhttp.Middleware(nil, nil)(http.NotFoundHandler()).ServeHTTP(res, httptest.NewRequest(http.MethodGet, "/", nil))
	if res.Code != 500 {
		t.Errorf("status %d", res.Code)
	}
}

func TestStreamingReachesTheClientBeforeTheEnd(t *testing.T) {
	t.Parallel()
	read := make(chan struct{})
	w := setup(t, nil, func(w http.ResponseWriter, r *http.Request) {
		enqueue(t, r.Context())
		f, ok := w.(http.Flusher)
		if !ok {
			t.Error("the writer is no Flusher")
			return
		}
		io.WriteString(w, "first\n")
		f.Flush()
		<-read // the client has it while the handler still runs
		io.WriteString(w, "second\n")
	})
	res, err := w.Client().Get(w.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewReader(res.Body)
	if line, err := lines.ReadString('\n'); line != "first\n" {
		t.Errorf("read %q, %v", line, err)
	}
	close(read)
	if rest, err := io.ReadAll(lines); string(rest) != "second\n" {
		t.Errorf("read %q, %v", rest, err)
	}
	res.Body.Close()
	if left := w.settled(); left != 1 {
		t.Errorf("%d intents left", left)
	}
}

func TestAnUpgradedConnectionFlushesWhenTheHandlerReturns(t *testing.T) {
	t.Parallel()
	w := setup(t, nil, func(w http.ResponseWriter, r *http.Request) {
		enqueue(t, r.Context())
		h, ok := w.(http.Hijacker)
		if !ok {
			t.Error("the writer is no Hijacker")
			return
		}
		conn, rw, err := h.Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
		rw.Flush()
		line, _ := rw.ReadString('\n')
		io.WriteString(conn, line)
	})
	conn, err := net.Dial("tcp", w.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
	r := bufio.NewReader(conn)
	for line := ""; line != "\r\n"; {
		if line, err = r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Fprintln(conn, "hello")
	if line, err := r.ReadString('\n'); line != "hello\n" {
		t.Errorf("echo %q, %v", line, err)
	}
	if got := <-w.flushed; len(got) != 1 {
		t.Errorf("%d intents left", len(got))
	}
}

func TestTheWriterCanDoNoMoreThanTheServers(t *testing.T) {
	t.Parallel()
	type flusher struct {
		http.ResponseWriter
		http.Flusher
	}
	type hijacker struct {
		http.ResponseWriter
		http.Hijacker
	}
	exec := func(context.Context, ...core.Intent) error { return nil }
	for name, tc := range map[string]struct {
		server           http.ResponseWriter
		flushes, hijacks bool
	}{
		"neither":  {struct{ http.ResponseWriter }{httptest.NewRecorder()}, false, false},
		"flusher":  {flusher{httptest.NewRecorder(), httptest.NewRecorder()}, true, false},
		"hijacker": {hijacker{httptest.NewRecorder(), nil}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := airlockhttp.Middleware(exec, nil)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, flushes := w.(http.Flusher)
				_, hijacks := w.(http.Hijacker)
				if flushes != tc.flushes || hijacks != tc.hijacks {
					t.Errorf("flushes %v, hijacks %v", flushes, hijacks)
				}
			}))
			h.ServeHTTP(tc.server, httptest.NewRequest(http.MethodGet, "/", nil))
		})
	}
}

func TestDeadlinesOfTheServersWriterAreReachable(t *testing.T) {
	t.Parallel()
	w := setup(t, nil, func(w http.ResponseWriter, _ *http.Request) {
		if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Error(err)
		}
	})
	w.get(t)
}
