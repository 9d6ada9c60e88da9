// Package airlockhttp puts a scope around each HTTP request: what the handler
// enqueues leaves if the request succeeded.
//
//	mux := http.NewServeMux()
//	…
//	http.ListenAndServe(addr, airlockhttp.Middleware(queue.Execute, nil)(mux))
//
// A request has succeeded if its status is below 400; a handler that writes
// nothing has answered 200, and one that took over the connection with Hijack
// has succeeded when it returns. A panic discards, and goes on.
//
// The intents leave after the handler has returned, for a stream or a WebSocket
// at its end. Where the handler also writes to a database, put the scope around
// the transaction instead, with airlocksql: a status is no COMMIT.
//
// The status that counts is the one that the handler gives to this middleware. A
// middleware around it that answers on its own, as [http.TimeoutHandler] does,
// goes unnoticed: put those inside.
package airlockhttp

import (
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/core"
)

// DefaultFlushLimit bounds the flush after the handler has returned, which a
// client that hangs up does not cut. [airlock.FlushLimit] among the options sets
// another.
const DefaultFlushLimit = 10 * time.Second

// Options tune a [Middleware]. The zero value works.
type Options struct {
	// Scope has the options of each request's scope. [airlock.ShouldFlush] has no
	// say here: the status decides.
	Scope []airlock.Option

	// OnError is told what went wrong with a request's scope: a flush that did
	// not deliver everything, an [*airlock.FlushError] that holds the intents, or
	// a scope that could not be opened. Nil logs it, at level Error, with
	// [slog.Default].
	OnError func(r *http.Request, err error)
}

// Middleware returns a middleware that runs each request in a scope over exec.
// Nil opts are the zero [Options]; for a nil exec see [airlock.Begin].
//
// If the flush fails, OnError is told, and the client is answered 500 as long
// as nothing has been written to it: the status of a handler that wrote no body
// is held back until the flush is through. If the scope cannot be opened the
// handler is not called, and the answer is 500.
//
// The writer given to the handler is a [http.Flusher] and a [http.Hijacker] if
// the server's is, or wraps one, and gives way to [http.ResponseController].
func Middleware(exec core.Executor, opts *Options) func(http.Handler) http.Handler {
	if opts == nil {
		opts = &Options{}
	}
	m := &middleware{exec: exec, onError: opts.OnError}
	m.scope = append([]airlock.Option{airlock.FlushLimit(DefaultFlushLimit)}, opts.Scope...)
	if m.onError == nil {
		m.onError = logError
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.serve(next, w, r) })
	}
}

type middleware struct {
	exec    core.Executor
	scope   []airlock.Option
	onError func(r *http.Request, err error)
}

func logError(r *http.Request, err error) {
	slog.ErrorContext(r.Context(), "airlock: request", "method", r.Method, "path", r.URL.Path, "error", err)
}

func (m *middleware) serve(next http.Handler, w http.ResponseWriter, r *http.Request) {
	ctx, scope, err := airlock.Begin(r.Context(), m.exec, m.scope...)
	if err == nil && next == nil {
		err = fmt.Errorf("airlock: nil handler: %w", core.ErrInvalid)
		scope.Discard()
	}
	if err != nil {
		m.fail(w, r, err)
		return
	}
	defer scope.Discard() // for a panic; after the flush it does nothing
	held := &response{ResponseWriter: w}
	next.ServeHTTP(held.withInterfaces(), r.WithContext(ctx))

	if held.status >= http.StatusBadRequest {
		scope.Discard()
	} else if err := scope.Flush(r.Context()); err != nil {
		if held.sent {
			m.onError(r, err)
		} else {
			m.fail(w, r, err)
		}
		return
	}
	held.send()
}

// fail answers a request to which nothing has been written.
func (m *middleware) fail(w http.ResponseWriter, r *http.Request, err error) {
	m.onError(r, err)
	http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
}
