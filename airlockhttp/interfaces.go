package airlockhttp

import (
	"bufio"
	"net"
	"net/http"
)

// Handlers find out by type assertion what a writer can do. So ours must have the
// methods that the server's writer has, and none that lead nowhere.
type (
	flusher  struct{ *response }
	hijacker struct{ *response }

	// closeNotifier is [http.CloseNotifier], which is deprecated but still used.
	closeNotifier interface{ CloseNotify() <-chan bool }
)

func (f flusher) Flush() { _ = f.FlushError() } // a Flusher cannot report an error

func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) { return h.hijack() }

// find returns the writer as a T, or the first writer that it wraps and that is one.
func find[T any](w http.ResponseWriter) (T, bool) {
	for {
		if t, ok := w.(T); ok {
			return t, true
		}
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			var none T
			return none, false
		}
		w = wrapper.Unwrap()
	}
}

func (w *response) withInterfaces() http.ResponseWriter {
	const (
		flushes = 1 << iota
		hijacks
		notifies
		pushes
	)
	var f http.Flusher = flusher{w}
	var h http.Hijacker = hijacker{w}
	can := 0
	if _, ok := find[http.Flusher](w.ResponseWriter); ok {
		can |= flushes
	}
	if _, ok := find[http.Hijacker](w.ResponseWriter); ok {
		can |= hijacks
	}
	c, ok := find[closeNotifier](w.ResponseWriter)
	if ok {
		can |= notifies
	}
	p, ok := find[http.Pusher](w.ResponseWriter)
	if ok {
		can |= pushes
	}
	switch can {
	case flushes:
		return struct {
			*response
			http.Flusher
		}{w, f}
	case hijacks:
		return struct {
			*response
			http.Hijacker
		}{w, h}
	case flushes | hijacks:
		return struct {
			*response
			http.Flusher
			http.Hijacker
		}{w, f, h}
	case notifies:
		return struct {
			*response
			closeNotifier
		}{w, c}
	case flushes | notifies:
		return struct {
			*response
			http.Flusher
			closeNotifier
		}{w, f, c}
	case hijacks | notifies:
		return struct {
			*response
			http.Hijacker
			closeNotifier
		}{w, h, c}
	case flushes | hijacks | notifies: // HTTP/1
		return struct {
			*response
			http.Flusher
			http.Hijacker
			closeNotifier
		}{w, f, h, c}
	case pushes:
		return struct {
			*response
			http.Pusher
		}{w, p}
	case flushes | pushes:
		return struct {
			*response
			http.Flusher
			http.Pusher
		}{w, f, p}
	case hijacks | pushes:
		return struct {
			*response
			http.Hijacker
			http.Pusher
		}{w, h, p}
	case flushes | hijacks | pushes:
		return struct {
			*response
			http.Flusher
			http.Hijacker
			http.Pusher
		}{w, f, h, p}
	case notifies | pushes:
		return struct {
			*response
			closeNotifier
			http.Pusher
		}{w, c, p}
	case flushes | notifies | pushes: // HTTP/2
		return struct {
			*response
			http.Flusher
			closeNotifier
			http.Pusher
		}{w, f, c, p}
	case hijacks | notifies | pushes:
		return struct {
			*response
			http.Hijacker
			closeNotifier
			http.Pusher
		}{w, h, c, p}
	case flushes | hijacks | notifies | pushes:
		return struct {
			*response
			http.Flusher
			http.Hijacker
			closeNotifier
			http.Pusher
		}{w, f, h, c, p}
	}
	return w
}
