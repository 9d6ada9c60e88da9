package airlockhttp

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// response notes the status, and holds it back until there is something to
// write after it or the flush is through.
type response struct {
	http.ResponseWriter
	status int  // 0 until the handler has chosen one
	sent   bool // the server's writer has been used, or taken over
}

// WriteHeader holds the status back. Informational ones go through at once: they
// are no answer yet; 101 is one.
func (w *response) WriteHeader(status int) {
	switch {
	case status >= 100 && status < 200 && status != http.StatusSwitchingProtocols:
		w.ResponseWriter.WriteHeader(status)
	case w.status == 0:
		w.status = status
	default: // a second one, of which the server complains
		w.send()
		w.ResponseWriter.WriteHeader(status)
	}
}

// send passes on what was held back. Without a chosen status there is nothing:
// the server answers 200 by itself.
func (w *response) send() {
	if w.sent {
		return
	}
	w.sent = true
	if w.status != 0 {
		w.ResponseWriter.WriteHeader(w.status)
	}
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
func (w *response) ReadFrom(r io.Reader) (int64, error) {
	w.begin()
	return io.Copy(w.ResponseWriter, r)
}

// FlushError is what a http.ResponseController calls, also where the server's
// writer is no http.Flusher but wraps one.
func (w *response) FlushError() error {
	w.begin()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

func (w *response) hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.sent = true
	}
	return conn, rw, err
}

// Unwrap gives a http.ResponseController the deadlines of the server's writer.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Handlers ask a writer by type assertion what it can do, so they must be given
// no method that the server's writer lacks.
type (
	canFlush  struct{ w *response }
	canHijack struct{ w *response }
)

func (c canFlush) Flush() { c.w.FlushError() } // http.Flusher has no way to tell an error

func (c canHijack) Hijack() (net.Conn, *bufio.ReadWriter, error) { return c.w.hijack() }

func (w *response) withInterfaces() http.ResponseWriter {
	_, flushes := w.ResponseWriter.(http.Flusher)
	_, hijacks := w.ResponseWriter.(http.Hijacker)
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
