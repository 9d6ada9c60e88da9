package airlockhttp

import (
	"bufio"
	"io"
	"maps"
	"net"
	"net/http"
	"time"
)

// response notes the status. It holds the status back until there is a body to
// write after it, or the flush is through.
type response struct {
	http.ResponseWriter
	body     *body       // of the request; nil if it has none
	statuses []int       // that the handler has given; the first is the client's
	header   http.Header // at the first status: later changes are trailers, or nothing
	sent     bool        // the server's writer has been used, or taken over
	hijacked bool
}

// WriteHeader holds the first status back. An informational status passes at once,
// since it is not yet an answer, except 101. So does what is not a status, for which
// the server panics, and a second status, of which the server complains.
func (w *response) WriteHeader(status int) {
	final := status == http.StatusSwitchingProtocols || status >= 200 && status <= 999
	if final {
		w.statuses = append(w.statuses, status)
	}
	switch {
	case final && len(w.statuses) == 1:
		w.header = w.Header().Clone()
	case len(w.statuses) > 0:
		w.send()
		fallthrough
	default:
		w.ResponseWriter.WriteHeader(status)
	}
}

// send passes on what was held back. Without a status there is nothing to pass on:
// the server answers 200 then.
func (w *response) send() {
	if w.sent {
		return
	}
	w.sent = true
	if len(w.statuses) == 0 {
		return
	}
	if now := w.Header(); w.header != nil {
		later := maps.Clone(now)
		replace(now, w.header)
		defer replace(now, later)
	}
	w.closeIfCut() // may add a header
	w.ResponseWriter.WriteHeader(w.statuses[0])
}

func replace(header, by http.Header) {
	clear(header)
	maps.Copy(header, by)
}

// begin is send before a body.
func (w *response) begin() {
	if len(w.statuses) == 0 {
		w.statuses = append(w.statuses, http.StatusOK)
	}
	w.send()
}

func (w *response) Write(b []byte) (int, error) {
	w.begin()
	return w.ResponseWriter.Write(b)
}

// WriteString spares the server's writer a copy.
func (w *response) WriteString(s string) (int, error) {
	w.begin()
	return io.WriteString(w.ResponseWriter, s)
}

// ReadFrom lets the server copy a file without taking it through this process. Like
// the server's own it looks at the source first: one that cannot be read must leave
// the status open.
func (w *response) ReadFrom(r io.Reader) (int64, error) {
	var n int64
	if !w.sent {
		const look = 512
		var err error
		if n, err = io.Copy(struct{ io.Writer }{w}, io.LimitReader(r, look)); err != nil || n < look {
			return n, err
		}
	}
	rest, err := io.Copy(w.ResponseWriter, r)
	return n + rest, err
}

// FlushError is what a [http.ResponseController] calls, also if the server's writer
// is not a [http.Flusher] but wraps one.
func (w *response) FlushError() error {
	w.begin()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// hijack first passes on the status, as the server's own does: an upgrade to a
// WebSocket may answer 101 with WriteHeader.
func (w *response) hijack() (net.Conn, *bufio.ReadWriter, error) {
	if len(w.statuses) > 0 {
		w.send()
	}
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.sent, w.hijacked = true, true
	}
	return conn, rw, err
}

// Unwrap makes the server's writer reachable for a [http.ResponseController]. The
// methods below are for callers that do not use one.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *response) SetReadDeadline(t time.Time) error {
	return http.NewResponseController(w.ResponseWriter).SetReadDeadline(t)
}

func (w *response) SetWriteDeadline(t time.Time) error {
	return http.NewResponseController(w.ResponseWriter).SetWriteDeadline(t)
}

func (w *response) EnableFullDuplex() error {
	return http.NewResponseController(w.ResponseWriter).EnableFullDuplex()
}
