package airlockhttp

import (
	"bufio"
	"io"
	"maps"
	"net"
	"net/http"
)

// response notes the status, and holds it back until there is something to
// write after it or the flush is through.
type response struct {
	http.ResponseWriter
	status int         // 0 until the handler has chosen one
	header http.Header // as it was then: later changes are trailers, or nothing
	sent   bool        // the server's writer has been used, or taken over
}

// WriteHeader holds the status back. Informational ones go through at once: they
// are no answer yet; 101 is one. So does what is no status, on which the server
// panics, and a second one, of which it complains.
func (w *response) WriteHeader(status int) {
	final := status == http.StatusSwitchingProtocols || status >= 200 && status <= 999
	switch {
	case w.status != 0:
		w.send()
		fallthrough
	case !final:
		w.ResponseWriter.WriteHeader(status)
	default:
		w.status, w.header = status, w.Header().Clone()
	}
}

// send passes on what was held back. Without a chosen status there is nothing:
// the server answers 200 by itself.
func (w *response) send() {
	if w.sent {
		return
	}
	w.sent = true
	if w.status == 0 {
		return
	}
	if now := w.Header(); w.header != nil {
		later := maps.Clone(now)
		replace(now, w.header)
		defer replace(now, later)
	}
	w.ResponseWriter.WriteHeader(w.status)
}

func replace(header, by http.Header) {
	clear(header)
	maps.Copy(header, by)
}

// begin is send before a body.
func (w *response) begin() {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	w.send()
}

func (w *response) Write(b []byte) (int, error) {
	w.begin()
	return w.ResponseWriter.Write(b)
}

// ReadFrom lets the server copy a file without taking it through this process.
// Like the server's own it begins with a look at the source: one that cannot be
// read must leave the status open.
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

// FlushError is what a http.ResponseController calls, also where the server's
// writer is no http.Flusher but wraps one.
func (w *response) FlushError() error {
	w.begin()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// hijack first passes on a status, as the server's own does: an upgrade to a
// WebSocket may answer 101 with WriteHeader.
func (w *response) hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.status != 0 {
		w.send()
	}
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.sent = true
	}
	return conn, rw, err
}

// Unwrap gives a http.ResponseController the deadlines of the server's writer.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Handlers ask a writer by type assertion what it can do, so they must be given
// no method that leads nowhere.
type (
	canFlush  struct{ w *response }
	canHijack struct{ w *response }
)

func (c canFlush) Flush() { c.w.FlushError() } // http.Flusher has no way to tell an error

func (c canHijack) Hijack() (net.Conn, *bufio.ReadWriter, error) { return c.w.hijack() }

// reaches reports whether the writer, or one that it wraps, is a T.
func reaches[T any](w http.ResponseWriter) bool {
	for {
		if _, ok := w.(T); ok {
			return true
		}
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return false
		}
		w = wrapper.Unwrap()
	}
}

func (w *response) withInterfaces() http.ResponseWriter {
	flushes, hijacks := reaches[http.Flusher](w.ResponseWriter), reaches[http.Hijacker](w.ResponseWriter)
	switch {
	case flushes && hijacks:
		return struct {
			*response
			canFlush
			canHijack
		}{w, canFlush{w}, canHijack{w}}
	case flushes:
		return struct {
			*response
			canFlush
		}{w, canFlush{w}}
	case hijacks:
		return struct {
			*response
			canHijack
		}{w, canHijack{w}}
	}
	return w
}
