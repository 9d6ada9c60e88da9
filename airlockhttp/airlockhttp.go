// Package airlockhttp puts a scope around each HTTP request. What the handler
// enqueues leaves if the request succeeded.
//
//	mux := http.NewServeMux()
//	…
//	http.ListenAndServe(addr, airlockhttp.Middleware(queue.Execute, nil)(mux))
//
// # Success
//
// A request has succeeded if its status is below 400; see [Options.Success] for
// another rule. A handler that writes nothing has answered 200. A handler that took
// over the connection with Hijack has answered 101.
//
// If the handler gives more than one status, each of them must be a success. The
// client saw the first one. A later one reports what went wrong after it, such as
// the 500 of a middleware that recovered from a panic in the middle of a body. A
// panic that reaches this middleware discards the intents, and goes on.
//
// The intents leave after the handler has returned. A handler of a stream or a
// WebSocket returns at its end.
//
// # Where to put it
//
// The status that counts is the one that the handler gives to this middleware. If
// a middleware around this one answers instead, as [http.TimeoutHandler] does, this
// one does not notice. Put such middleware inside.
//
// If the handler also writes to a database, its transaction is the better boundary,
// because a status is not a COMMIT. But inside a request's scope, airlocksql.RunTx
// hands its intents to that scope. If the handler then answers with an error, the
// intents are discarded although the data are committed. So use this middleware
// only for handlers without such transactions, or give RunTx an outbox or the option
// [airlock.Independent].
//
// # gRPC
//
// A gRPC call that failed is HTTP 200 too. Its status is in a trailer, which this
// middleware does not read. Open the scope in an interceptor instead, with
// [airlock.Run] around the handler, so that the handler's error decides.
//
// The same holds for GraphQL and other protocols that report errors in a body. But
// if the handler can note the failure in a value of the request's context, use
// [Options.Success].
package airlockhttp

import (
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/core"
)

// DefaultFlushLimit bounds the flush. The flush begins when the handler has
// returned and goes on if the client hangs up. [airlock.FlushLimit] among
// [Options.Scope] sets another limit.
const DefaultFlushLimit = 10 * time.Second

// Options configure a [Middleware]. The zero value works.
type Options struct {
	// Scope has the options of each request's scope.
	Scope []airlock.Option

	// Success reports whether a request with this status has succeeded, so that its
	// intents leave. It is called after the handler has returned, once for each
	// status that the handler gave, until it returns false. Its panic discards. Nil
	// means a status below 400.
	Success func(r *http.Request, status int) bool

	// OnError is called when the flush did not deliver everything, with an
	// [*airlock.FlushError] that holds the intents, and when the scope could not be
	// opened. Nil logs the error, at level Error, with [slog.Default].
	OnError func(r *http.Request, err error)
}

// Middleware returns a middleware that runs each request in a scope over exec. Nil
// opts are the zero [Options]. For a nil exec see [airlock.Begin].
//
// If the flush fails, the client gets 500, provided that nothing has been written
// to it yet, without the headers that the handler has set. The status of a handler
// that wrote no body is held back until the flush is through. If the scope cannot
// be opened, the handler is not called, and the client gets 500. In both cases
// OnError is called.
//
// The writer that the handler gets can do what the server's writer can: it is a
// [http.Flusher], [http.Hijacker], [http.Pusher], [io.ReaderFrom] and so on if the
// server's is, or wraps one.
func Middleware(exec core.Executor, opts *Options) func(http.Handler) http.Handler {
	if opts == nil {
		opts = &Options{}
	}
	m := &middleware{exec: exec, success: opts.Success, onError: opts.OnError}
	m.scope = append([]airlock.Option{airlock.FlushLimit(DefaultFlushLimit)}, opts.Scope...)
	if m.success == nil {
		m.success = func(_ *http.Request, status int) bool { return status < http.StatusBadRequest }
	}
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
	success func(r *http.Request, status int) bool
	onError func(r *http.Request, err error)
}

func logError(r *http.Request, err error) {
	slog.ErrorContext(r.Context(), "airlock: request", "method", r.Method, "path", r.URL.Path, "error", err)
}

func (m *middleware) serve(next http.Handler, w http.ResponseWriter, r *http.Request) {
	ctx, scope, err := airlock.Begin(r.Context(), m.exec, m.scope...)
	if err == nil && next == nil {
		err = fmt.Errorf("airlock: airlockhttp: nil handler: %w", core.ErrInvalid)
	}
	if err != nil {
		m.onError(r, err)
		fail(w)
		return
	}
	defer scope.Discard() // for a panic; after the flush it does nothing

	before := w.Header().Clone()
	inner, body := requestWith(ctx, r)
	held := &response{ResponseWriter: w, body: body}
	m.handle(next, held, r, inner)

	if !m.succeeded(r, held) {
		scope.Discard()
	} else if err := scope.Flush(r.Context()); err != nil {
		m.onError(r, err)
		if !held.sent {
			replace(w.Header(), before)
			held.closeIfCut()
			fail(w)
			return
		}
	}
	held.send()
	held.closeIfCut()
}

// handle calls the handler. What the handler's request has become is copied back
// also if it panics.
func (m *middleware) handle(next http.Handler, held *response, r, inner *http.Request) {
	defer copyBack(r, inner)
	next.ServeHTTP(held.withInterfaces(), inner)
}

func (m *middleware) succeeded(r *http.Request, held *response) bool {
	statuses := held.statuses
	if len(statuses) == 0 {
		statuses = []int{http.StatusOK}
		if held.hijacked {
			statuses[0] = http.StatusSwitchingProtocols
		}
	}
	for _, status := range statuses {
		if !m.success(r, status) {
			return false
		}
	}
	return true
}

func fail(w http.ResponseWriter) {
	http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
}
