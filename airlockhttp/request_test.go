package airlockhttp_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/goairlock/airlock/airlockhttp"
	"github.com/goairlock/airlock/airlocktest"
)

func TestTheServerRemovesTheTemporaryFilesOfAMultipartUpload(t *testing.T) {
	var rec airlocktest.Recorder
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	served := make(chan bool, 1)
	h := airlockhttp.Middleware(rec.Execute, nil)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if err := r.ParseMultipartForm(10); err != nil {
			t.Error(err)
		}
		if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
			t.Errorf("%d temporary files, %v", len(files), err)
		}
	}))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		served <- r.MultipartForm != nil
	}))
	defer server.Close()
	var form bytes.Buffer
	mw := multipart.NewWriter(&form)
	part, err := mw.CreateFormFile("file", "a.bin")
	if err != nil {
		t.Fatal(err)
	}
	part.Write(bytes.Repeat([]byte("x"), 11<<20)) // more than ParseMultipartForm keeps in memory
	mw.Close()
	res, err := server.Client().Post(server.URL, mw.FormDataContentType(), &form)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if !<-served {
		t.Error("the server's request has no form")
	}
	server.Close() // waits for the end of the request
	if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
		t.Errorf("%d temporary files are left, %v", len(files), err)
	}
}

func TestAMiddlewareAroundSeesWhatTheHandlersRequestHasBecome(t *testing.T) {
	t.Parallel()
	var rec airlocktest.Recorder
	mux := http.NewServeMux()
	mux.HandleFunc("GET /orders/{id}", func(_ http.ResponseWriter, r *http.Request) { r.FormValue("card") })
	mux.HandleFunc("GET /panics", func(http.ResponseWriter, *http.Request) { panic("boom") })
	h := airlockhttp.Middleware(rec.Execute, nil)(mux)
	r := httptest.NewRequest(http.MethodGet, "/orders/1?card=good", nil)
	h.ServeHTTP(httptest.NewRecorder(), r)
	if r.Pattern != "GET /orders/{id}" || r.Form.Get("card") != "good" {
		t.Errorf("pattern %q, form %v", r.Pattern, r.Form)
	}
	r = httptest.NewRequest(http.MethodGet, "/panics", nil)
	func() {
		defer func() { _ = recover() }()
		h.ServeHTTP(httptest.NewRecorder(), r)
	}()
	if r.Pattern != "GET /panics" {
		t.Errorf("after a panic: pattern %q", r.Pattern)
	}
}

func TestTheHandlerSeesTrailersThatWereNotAnnounced(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	w := setup(t, nil, func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		got <- r.Trailer.Get("Sum")
	})
	conn, err := net.Dial("tcp", w.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nSum: 42\r\n\r\n")
	if sum := <-got; sum != "42" {
		t.Errorf("trailer %q", sum)
	}
}

// With the server's own writer, http.MaxBytesReader closes the connection.
func TestALimitOnTheBodyClosesTheConnection(t *testing.T) {
	t.Parallel()
	limited := func(w http.ResponseWriter, r *http.Request, read func(io.Reader) error, status int) {
		r.Body = http.MaxBytesReader(w, r.Body, 10)
		var tooLarge *http.MaxBytesError
		if err := read(r.Body); errors.As(err, &tooLarge) {
			w.WriteHeader(status)
		}
	}
	all := func(r io.Reader) error { _, err := io.ReadAll(r); return err }
	line := func(r io.Reader) error { _, err := bufio.NewReader(r).ReadString('\n'); return err }
	for _, tc := range []struct {
		name   string
		size   int
		handle http.HandlerFunc
		closes bool
	}{
		{"exceeded", 1000, func(w http.ResponseWriter, r *http.Request) { limited(w, r, all, 413) }, true},
		{"exceeded by one", 11, func(w http.ResponseWriter, r *http.Request) { limited(w, r, line, 400) }, true},
		{"exceeded, and yet a success", 1000, func(w http.ResponseWriter, r *http.Request) { limited(w, r, all, 200) }, true},
		{"exceeded, and nothing written", 1000, func(w http.ResponseWriter, r *http.Request) {
			_ = all(http.MaxBytesReader(w, r.Body, 10))
		}, true},
		{"MaxBytesHandler", 1000, func(w http.ResponseWriter, r *http.Request) {
			http.MaxBytesHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if err := all(r.Body); err != nil {
					http.Error(w, "too large", 413)
				}
			}), 10).ServeHTTP(w, r)
		}, true},
		{"kept", 10, func(w http.ResponseWriter, r *http.Request) { limited(w, r, all, 413) }, false},
		{"read without a limit", 1000, func(_ http.ResponseWriter, r *http.Request) { _ = all(r.Body) }, false},
		{"not read", 1000, func(http.ResponseWriter, *http.Request) {}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := setup(t, nil, tc.handle)
			plain := httptest.NewServer(tc.handle)
			defer plain.Close()
			for name, url := range map[string]string{"with the scope": w.URL, "without": plain.URL} {
				res, err := http.Post(url, "text/plain", strings.NewReader(strings.Repeat("x", tc.size)))
				if err != nil {
					t.Fatal(err)
				}
				res.Body.Close()
				if res.Close != tc.closes {
					t.Errorf("%s: closes %v, want %v", name, res.Close, tc.closes)
				}
			}
		})
	}
}

// The limit may be exceeded when the header has left already.
func TestALimitThatIsExceededAfterAPartOfTheAnswerClosesTheConnection(t *testing.T) {
	t.Parallel()
	w := setup(t, nil, func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		if err := control.EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		io.WriteString(w, "part")
		if err := control.Flush(); err != nil {
			t.Error(err)
		}
		io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, 10))
	})
	conn, err := net.Dial("tcp", w.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n%s", strings.Repeat("x", 1000))
	if all, err := io.ReadAll(conn); err != nil || !strings.Contains(string(all), "part") { // to the end of the connection
		t.Errorf("read %q, %v", all, err)
	}
}
