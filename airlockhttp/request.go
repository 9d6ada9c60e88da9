package airlockhttp

import (
	"context"
	"io"
	"net/http"
	"strings"
)

// requestWith returns the request that the handler gets, and its body if it has
// one. It is a copy, since a request's context cannot be changed.
func requestWith(ctx context.Context, r *http.Request) (*http.Request, *body) {
	if r.Body == nil || r.Body == http.NoBody {
		return r.WithContext(ctx), nil
	}
	if r.Trailer == nil {
		r.Trailer = http.Header{} // the server adds trailers that were not announced, to its own request
	}
	inner := r.WithContext(ctx)
	b := &body{ReadCloser: r.Body}
	inner.Body = b
	return inner, b
}

// copyBack copies what the handler has parsed or the mux has set to the server's
// request. The server removes the temporary files of its MultipartForm, and a
// middleware further out reads the Pattern.
func copyBack(to, from *http.Request) {
	to.Form, to.PostForm, to.MultipartForm = from.Form, from.PostForm, from.MultipartForm
	to.Pattern = from.Pattern
}

// body notices that a limit on the request's body was exceeded.
//
// The reader of [http.MaxBytesReader] asks the writer that it was given to close the
// connection, through a method that only the server's own writer can have, since its
// name is not exported. So our writer has to find out, see closeIfCut. That reader
// shortens the buffer that it passes down to one byte more than it may return. So
// the read that exceeds the limit fills a buffer that is shorter than its capacity,
// and it is the last one. An [io.LimitReader] at its end looks the same; then the
// connection is closed without need, which does no harm.
type body struct {
	io.ReadCloser
	cut bool
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.cut = n == len(p) && len(p) < cap(p)
	return n, err
}

// closeIfCut makes the server close the connection after the answer if a limit on
// the request's body was exceeded. It exceeds a limit of its own, of 0 bytes, with
// the server's writer.
func (w *response) closeIfCut() {
	if w.body == nil || !w.body.cut {
		return
	}
	w.body.cut = false
	exceeded := http.MaxBytesReader(w.ResponseWriter, io.NopCloser(strings.NewReader("x")), 0)
	_, _ = exceeded.Read(make([]byte, 1)) // it fails
}
