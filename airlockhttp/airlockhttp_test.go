package airlockhttp_test

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/airlockhttp"
	"github.com/goairlock/airlock/airlocktest"
	"github.com/goairlock/airlock/core"
)

var task = core.DeclareTask[string]("test.task")

// guarded makes an executor of exec that can be asked.
func guarded(exec core.Executor) core.Executor { return adapter.Guard(core.Capabilities{}, exec) }

// testServer is a real server whose requests run in scopes.
type testServer struct {
	*httptest.Server
	flushed chan []core.Intent // one for each flush
	failed  chan error         // one for each call of OnError
}

func setup(t *testing.T, exec core.Executor, handler http.HandlerFunc, opts ...func(*airlockhttp.Options)) *testServer {
	t.Helper()
	w := &testServer{flushed: make(chan []core.Intent, 10), failed: make(chan error, 10)}
	if exec == nil {
		exec = func(_ context.Context, intents ...core.Intent) error { w.flushed <- intents; return nil }
	}
	options := &airlockhttp.Options{OnError: func(_ *http.Request, err error) { w.failed <- err }}
	for _, set := range opts {
		set(options)
	}
	wrap := airlockhttp.Middleware(guarded(exec), options)
	w.Server = httptest.NewUnstartedServer(wrap(handler))
	w.Config.ErrorLog = log.New(io.Discard, "", 0)
	w.Start()
	t.Cleanup(w.Close)
	return w
}

func (w *testServer) get(t *testing.T) (status int, body string) {
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
func (w *testServer) settled() int {
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
		{"an error after a success", func(w http.ResponseWriter) { w.WriteHeader(202); w.WriteHeader(500) }, 202, 0},
		{"an error after a part of the body", func(w http.ResponseWriter) { io.WriteString(w, "part"); http.Error(w, "no", 500) }, 200, 0},
		{"a success after an error", func(w http.ResponseWriter) { w.WriteHeader(500); w.WriteHeader(200) }, 500, 0},
		{"two successes", func(w http.ResponseWriter) { w.WriteHeader(201); w.WriteHeader(200) }, 201, 1},
		{"informational after the answer", func(w http.ResponseWriter) { w.WriteHeader(202); w.WriteHeader(103) }, 202, 1},
		{"no content", func(w http.ResponseWriter) { w.WriteHeader(204) }, 204, 1},
		{"no content, and yet a body", func(w http.ResponseWriter) { w.WriteHeader(204); io.WriteString(w, "x") }, 204, 1},
		{"not modified", func(w http.ResponseWriter) { w.WriteHeader(304) }, 304, 1},
		{"a source that cannot be read", func(w http.ResponseWriter) {
			if _, err := io.Copy(w, iotest.ErrReader(errors.New("no such file"))); err != nil {
				http.Error(w, "no", 500)
			}
		}, 500, 0},
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

func TestAPanicAfterAPartOfTheBodyDiscardsAlsoIfAMiddlewareRecovers(t *testing.T) {
	t.Parallel()
	recovering := func(next http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			defer func() {
				if recover() != nil {
					http.Error(w, "failed", http.StatusInternalServerError)
				}
			}()
			next(w, r)
		}
	}
	w := setup(t, nil, recovering(func(w http.ResponseWriter, r *http.Request) {
		enqueue(t, r.Context())
		io.WriteString(w, "part")
		panic("boom")
	}))
	if status, _ := w.get(t); status != 200 {
		t.Errorf("status %d", status)
	}
	if left := w.settled(); left != 0 {
		t.Errorf("%d intents left", left)
	}
}

func TestSuccessDecides(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		success func(r *http.Request, status int) bool
		answer  func(w http.ResponseWriter, r *http.Request)
		left    int
	}{
		"an error status that is a success": {
			func(_ *http.Request, status int) bool { return status == 404 },
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, 1},
		"nothing written is 200": {
			func(_ *http.Request, status int) bool { return status == 200 },
			func(http.ResponseWriter, *http.Request) {}, 1},
		"one of two": {
			func(_ *http.Request, status int) bool { return status == 200 },
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200); w.WriteHeader(201) }, 0},
		"a panic": {
			func(*http.Request, int) bool { panic("boom") },
			func(http.ResponseWriter, *http.Request) {}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := setup(t, nil, func(w http.ResponseWriter, r *http.Request) {
				enqueue(t, r.Context())
				tc.answer(w, r)
			}, func(o *airlockhttp.Options) { o.Success = tc.success })
			if res, err := w.Client().Get(w.URL); err == nil {
				res.Body.Close()
			}
			if left := w.settled(); left != tc.left {
				t.Errorf("%d intents left, want %d", left, tc.left)
			}
		})
	}
}

// Protocols that report a failure in the body, under a status of 200.
func TestSuccessSeesTheContextInWhichTheHandlerNotedAFailure(t *testing.T) {
	t.Parallel()
	type failedKey struct{}
	var rec airlocktest.Recorder
	h := airlockhttp.Middleware(rec.Execute, &airlockhttp.Options{
		Success: func(r *http.Request, _ int) bool { return !*r.Context().Value(failedKey{}).(*bool) },
	})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		enqueue(t, r.Context())
		*r.Context().Value(failedKey{}).(*bool) = r.URL.Path == "/fails"
		io.WriteString(w, `{"errors":["declined"]}`)
	}))
	for path, left := range map[string]int{"/fails": 0, "/works": 1} {
		rec.Reset()
		r := httptest.NewRequest(http.MethodGet, path, nil)
		h.ServeHTTP(httptest.NewRecorder(), r.WithContext(context.WithValue(r.Context(), failedKey{}, new(bool))))
		if got := len(rec.Intents()); got != left {
			t.Errorf("%s: %d intents left, want %d", path, got, left)
		}
	}
}

func TestTheFlushObeysTheOutermostScope(t *testing.T) {
	t.Parallel()
	inner := guarded(func(context.Context, ...core.Intent) error { t.Error("the inner executor was called"); return nil })
	for status, left := range map[int]int{200: 1, 500: 0} {
		w := setup(t, nil, func(w http.ResponseWriter, r *http.Request) {
			err := airlock.Run(r.Context(), inner, func(ctx context.Context) error { enqueue(t, ctx); return nil })
			if err != nil {
				t.Error(err)
			}
			w.WriteHeader(status)
		})
		w.get(t)
		if got := w.settled(); got != left {
			t.Errorf("status %d: %d intents left, want %d", status, got, left)
		}
	}
}

func TestAPanicDiscards(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]func(w http.ResponseWriter){
		"aborted":              func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"after a status":       func(w http.ResponseWriter) { w.WriteHeader(201); panic("boom") },
		"after part of a body": func(w http.ResponseWriter) { io.Copy(w, strings.NewReader("part")); panic("boom") },
		"no status":            func(w http.ResponseWriter) { w.WriteHeader(42) }, // the server panics
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := setup(t, nil, func(w http.ResponseWriter, r *http.Request) {
				enqueue(t, r.Context())
				bad(w)
			})
			if res, err := w.Client().Get(w.URL); err == nil {
				res.Body.Close()
				t.Error("the request succeeded")
			}
			if left := w.settled(); left != 0 {
				t.Errorf("%d intents left", left)
			}
		})
	}
}

func TestATimeoutHandlerInsideDiscards(t *testing.T) {
	t.Parallel()
	w := setup(t, nil, func(w http.ResponseWriter, r *http.Request) {
		http.TimeoutHandler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			enqueue(t, r.Context())
			<-r.Context().Done()
		}), time.Second, "too late").ServeHTTP(w, r)
	})
	if status, body := w.get(t); status != 503 || body != "too late" {
		t.Errorf("status %d, body %q", status, body)
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

func TestAScopeThatCannotBeOpenedIsAnErrorForClientAndServer(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string]func(onError func(*http.Request, error)) http.Handler{
		"no executor": func(onError func(*http.Request, error)) http.Handler {
			return airlockhttp.Middleware(nil, &airlockhttp.Options{OnError: onError})(http.NotFoundHandler())
		},
		"no handler": func(onError func(*http.Request, error)) http.Handler {
			exec := func(context.Context, ...core.Intent) error { return nil }
			return airlockhttp.Middleware(exec, &airlockhttp.Options{OnError: onError})(nil)
		},
		"a wrapper around nil": func(onError func(*http.Request, error)) http.Handler {
			return airlockhttp.Middleware(guarded(nil), &airlockhttp.Options{OnError: onError})(http.NotFoundHandler())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got error
			h := wrap(func(_ *http.Request, err error) { got = err })
			res := httptest.NewRecorder()
			h.ServeHTTP(res, httptest.NewRequest(http.MethodGet, "/", nil))
			if res.Code != 500 || got == nil {
				t.Errorf("status %d, OnError got %v", res.Code, got)
			}
		})
	}
	res := httptest.NewRecorder() // and without options the error is logged
	airlockhttp.Middleware(nil, nil)(http.NotFoundHandler()).ServeHTTP(res, httptest.NewRequest(http.MethodGet, "/", nil))
	if res.Code != 500 {
		t.Errorf("status %d", res.Code)
	}
}
