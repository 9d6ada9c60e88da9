package airlockhttp_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/goairlock/airlock/airlockhttp"
	"github.com/goairlock/airlock/core"
)

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

// The server's writer may be any combination of these.
type (
	canFlush  struct{ http.Flusher }
	canHijack struct{ http.Hijacker }
	canNotify struct{ *notifying }
	canPush   struct{ http.Pusher }
	notifying struct{ gone chan bool }
)

func (n *notifying) CloseNotify() <-chan bool { return n.gone }

type pushing struct{}

func (pushing) Push(string, *http.PushOptions) error { return http.ErrNotSupported }

type closeNotifier interface{ CloseNotify() <-chan bool }

func TestTheWriterCanDoWhatTheServersCanAndNoMore(t *testing.T) {
	t.Parallel()
	rec := httptest.NewRecorder()
	f, h, n, p := canFlush{rec}, canHijack{nil}, canNotify{&notifying{make(chan bool)}}, canPush{pushing{}}
	type w struct{ http.ResponseWriter }
	plain := struct{ http.ResponseWriter }{rec}
	for name, server := range map[string]http.ResponseWriter{
		"----": plain,
		"f---": struct {
			w
			canFlush
		}{w{rec}, f},
		"-h--": struct {
			w
			canHijack
		}{w{rec}, h},
		"fh--": struct {
			w
			canFlush
			canHijack
		}{w{rec}, f, h},
		"--n-": struct {
			w
			canNotify
		}{w{rec}, n},
		"f-n-": struct {
			w
			canFlush
			canNotify
		}{w{rec}, f, n},
		"-hn-": struct {
			w
			canHijack
			canNotify
		}{w{rec}, h, n},
		"fhn-": struct {
			w
			canFlush
			canHijack
			canNotify
		}{w{rec}, f, h, n},
		"---p": struct {
			w
			canPush
		}{w{rec}, p},
		"f--p": struct {
			w
			canFlush
			canPush
		}{w{rec}, f, p},
		"-h-p": struct {
			w
			canHijack
			canPush
		}{w{rec}, h, p},
		"fh-p": struct {
			w
			canFlush
			canHijack
			canPush
		}{w{rec}, f, h, p},
		"--np": struct {
			w
			canNotify
			canPush
		}{w{rec}, n, p},
		"f-np": struct {
			w
			canFlush
			canNotify
			canPush
		}{w{rec}, f, n, p},
		"-hnp": struct {
			w
			canHijack
			canNotify
			canPush
		}{w{rec}, h, n, p},
		"fhnp": struct {
			w
			canFlush
			canHijack
			canNotify
			canPush
		}{w{rec}, f, h, n, p},
	} {
		for _, around := range []http.ResponseWriter{server, wrapping{server}} {
			var got string
			var notified <-chan bool
			h := airlockhttp.Middleware(guarded(func(context.Context, ...core.Intent) error { return nil }), nil)(
				http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					got = can(w)
					if c, ok := w.(closeNotifier); ok {
						notified = c.CloseNotify()
					}
				}))
			h.ServeHTTP(around, httptest.NewRequest(http.MethodGet, "/", nil))
			if got != name || strings.Contains(name, "n") && notified != n.CloseNotify() {
				t.Errorf("server's %s: handler's %s, notified by %v", name, got, notified)
			}
		}
	}
}

// can names what a writer can do.
func can(w http.ResponseWriter) string {
	got := []byte("----")
	if _, ok := w.(http.Flusher); ok {
		got[0] = 'f'
	}
	if _, ok := w.(http.Hijacker); ok {
		got[1] = 'h'
	}
	if _, ok := w.(closeNotifier); ok {
		got[2] = 'n'
	}
	if _, ok := w.(http.Pusher); ok {
		got[3] = 'p'
	}
	return string(got)
}

// Every method of the server's own writers, found in net/http by name.
func TestEveryExportedMethodOfTheServersWriterIsReachable(t *testing.T) {
	t.Parallel()
	for _, http2 := range []bool{false, true} {
		var missing []string
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			own := reflect.TypeOf(w)
			airlockhttp.Middleware(guarded(func(context.Context, ...core.Intent) error { return nil }), nil)(
				http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					for i := range own.NumMethod() {
						if _, ok := reflect.TypeOf(w).MethodByName(own.Method(i).Name); !ok {
							missing = append(missing, own.Method(i).Name)
						}
					}
				})).ServeHTTP(w, r)
		}))
		server.EnableHTTP2 = http2
		server.StartTLS()
		res, err := server.Client().Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		server.Close()
		if len(missing) > 0 {
			t.Errorf("HTTP/%d: missing %v", res.ProtoMajor, missing)
		}
	}
}

func TestTheHeadersOfASuccessDoNotGoOutWithTheErrorOfTheFlush(t *testing.T) {
	t.Parallel()
	down := guarded(func(context.Context, ...core.Intent) error { return core.ErrUnavailable })
	for name, status := range map[string]int{"no status": 0, "a status": 201} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scoped := airlockhttp.Middleware(down, &airlockhttp.Options{OnError: func(*http.Request, error) {}})(
				http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					enqueue(t, r.Context())
					for key, value := range map[string]string{
						"Content-Encoding": "gzip", "Cache-Control": "public", "Set-Cookie": "a=b", "Location": "/made", "Vary": "Accept",
					} {
						w.Header().Set(key, value)
					}
					if status != 0 {
						w.WriteHeader(status)
						w.Header().Set("Late", "yes")
					}
				}))
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Vary", "Origin") // of a middleware around it
				scoped.ServeHTTP(w, r)
			}))
			defer server.Close()
			res, err := server.Client().Get(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			for _, key := range []string{"Content-Encoding", "Cache-Control", "Set-Cookie", "Location", "Late"} {
				if res.Header.Get(key) != "" {
					t.Errorf("%s is %q", key, res.Header.Get(key))
				}
			}
			body, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != 500 || !strings.Contains(string(body), "Internal Server Error") || res.Header.Get("Vary") != "Origin" {
				t.Errorf("status %d, body %q, Vary %q, %v", res.StatusCode, body, res.Header.Get("Vary"), err)
			}
		})
	}
}

func TestDeadlinesOfTheServersWriterAreReachable(t *testing.T) {
	t.Parallel()
	w := setup(t, nil, func(w http.ResponseWriter, _ *http.Request) {
		control := http.NewResponseController(w)
		if err := control.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Error(err)
		}
		if err := control.EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		own := w.(interface {
			SetReadDeadline(time.Time) error
			SetWriteDeadline(time.Time) error
			EnableFullDuplex() error
		})
		for _, err := range []error{own.SetReadDeadline(time.Now().Add(time.Minute)), own.SetWriteDeadline(time.Now().Add(time.Minute)), own.EnableFullDuplex()} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	w.get(t)
}

// wrapping is a writer as middleware makes them: it has Unwrap, and no more.
type wrapping struct{ http.ResponseWriter }

func (w wrapping) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Libraries for WebSockets answer with WriteHeader before they take over.
func TestAnUpgradeMayAnswerBeforeItTakesOver(t *testing.T) {
	t.Parallel()
	for name, hijack := range map[string]func(w http.ResponseWriter) (net.Conn, *bufio.ReadWriter, error){
		"assertion": func(w http.ResponseWriter) (net.Conn, *bufio.ReadWriter, error) { return w.(http.Hijacker).Hijack() },
		"controller": func(w http.ResponseWriter) (net.Conn, *bufio.ReadWriter, error) {
			return http.NewResponseController(w).Hijack()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			failed := make(chan error, 1)
			down := func(context.Context, ...core.Intent) error { return core.ErrUnavailable }
			wrap := airlockhttp.Middleware(down, &airlockhttp.Options{OnError: func(_ *http.Request, err error) { failed <- err }})
			inner := wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				enqueue(t, r.Context())
				w.Header().Set("Upgrade", "echo")
				w.Header().Set("Connection", "Upgrade")
				w.WriteHeader(http.StatusSwitchingProtocols)
				conn, _, err := hijack(w)
				if err != nil {
					t.Error(err)
					return
				}
				io.WriteString(conn, "hello\n")
				conn.Close()
			}))
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				inner.ServeHTTP(wrapping{w}, r)
			}))
			defer server.Close()
			conn, err := net.Dial("tcp", server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
			all, err := io.ReadAll(conn)
			if text := string(all); err != nil || !strings.HasPrefix(text, "HTTP/1.1 101 ") || !strings.HasSuffix(text, "\r\n\r\nhello\n") {
				t.Errorf("read %q, %v", text, err)
			}
			if err := <-failed; err == nil {
				t.Error("no error of the failed flush")
			}
		})
	}
}

func TestHeadersAreThoseOfTheAnswersMoment(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{"no body": "", "a body": "hello"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := setup(t, nil, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Trailer", "Sum")
				w.Header().Set("Early", "yes")
				w.WriteHeader(202)
				w.Header().Set("Late", "yes")
				w.Header().Set("Early", "no")
				io.WriteString(w, body)
				w.Header().Set("Sum", "42")
				w.Header().Set(http.TrailerPrefix+"Unannounced", "yes")
			})
			res, err := w.Client().Get(w.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if got, err := io.ReadAll(res.Body); string(got) != body {
				t.Errorf("body %q, %v", got, err)
			}
			if res.Header.Get("Early") != "yes" || res.Header.Get("Late") != "" || res.Header.Get("Sum") != "" {
				t.Errorf("headers %v", res.Header)
			}
			if res.Trailer.Get("Sum") != "42" || res.Trailer.Get("Unannounced") != "yes" {
				t.Errorf("trailers %v", res.Trailer)
			}
		})
	}
}

func TestALargeSourceArrivesWhole(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{0, 1, 511, 512, 513, 1 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			want := strings.Repeat("x", int(size))
			w := setup(t, nil, func(w http.ResponseWriter, r *http.Request) {
				enqueue(t, r.Context())
				if n, err := io.Copy(w, struct{ io.Reader }{strings.NewReader(want)}); n != size || err != nil {
					t.Errorf("copied %d, %v", n, err)
				}
			})
			if status, body := w.get(t); status != 200 || body != want {
				t.Errorf("status %d, %d bytes", status, len(body))
			}
			if left := w.settled(); left != 1 {
				t.Errorf("%d intents left", left)
			}
		})
	}
}

func TestHTTP2StreamsAndHasNoHijacker(t *testing.T) {
	t.Parallel()
	read := make(chan struct{})
	sent := make(chan int, 1)
	exec := guarded(func(_ context.Context, intents ...core.Intent) error { sent <- len(intents); return nil })
	server := httptest.NewUnstartedServer(airlockhttp.Middleware(exec, nil)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		enqueue(t, r.Context())
		if _, ok := w.(http.Hijacker); ok {
			t.Error("the writer is a Hijacker")
		}
		w.WriteHeader(201)
		io.WriteString(w, "first")
		w.(http.Flusher).Flush()
		<-read
	})))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	res, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	first := make([]byte, 5)
	if _, err := io.ReadFull(res.Body, first); err != nil || string(first) != "first" {
		t.Errorf("read %q, %v", first, err)
	}
	close(read)
	if n := <-sent; n != 1 || res.ProtoMajor != 2 || res.StatusCode != 201 {
		t.Errorf("%d intents left; HTTP/%d, status %d", n, res.ProtoMajor, res.StatusCode)
	}
}
