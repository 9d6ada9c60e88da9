package airlockhttp_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
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
		control := http.NewResponseController(w)
		if err := control.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Error(err)
		}
		if err := control.EnableFullDuplex(); err != nil {
			t.Error(err)
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
			told := make(chan error, 1)
			down := func(context.Context, ...core.Intent) error { return core.ErrUnavailable }
			wrap := airlockhttp.Middleware(down, &airlockhttp.Options{OnError: func(_ *http.Request, err error) { told <- err }})
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
			if err := <-told; err == nil {
				t.Error("the failed flush was not told")
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
	exec := func(_ context.Context, intents ...core.Intent) error { sent <- len(intents); return nil }
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
