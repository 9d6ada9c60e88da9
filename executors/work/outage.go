package workexec

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/adapter"
)

// outageLog watches the connection to Redis, so that its loss is logged once, and its return
// once, however often the worker tries. It also logs once what Redis refuses while
// everything else works.
type outageLog struct {
	log *slog.Logger

	mu      sync.Mutex
	down    bool               // guarded by mu
	failing map[string]failing // guarded by mu: the calls whose last try failed, by name
	refused map[string]bool    // guarded by mu: the calls that Redis answers with an error
}

// failing is since when a call fails, and when it did so last.
type failing struct{ since, last time.Time }

const (
	// lostAfter is for how long one kind of call must fail before the way counts as
	// lost. After a restart of Redis each connection in the pool fails once.
	lostAfter = time.Second

	// forgottenAfter is when a kind of call is no longer tried.
	forgottenAfter = 15 * time.Second
)

func newOutageLog(log *slog.Logger) outageLog {
	return outageLog{log: log, failing: map[string]failing{}, refused: map[string]bool{}}
}

// note takes the result of a call. A Redis that was demoted still answers some kinds
// of calls, so each kind counts for itself.
func (l *outageLog) note(call string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	switch {
	case err == nil || errors.Is(err, redis.ErrNil):
		delete(l.failing, call)
		delete(l.refused, call)
	case isFinal(err):
		delete(l.failing, call)
		if !l.refused[call] {
			l.refused[call] = true
			l.log.LogAttrs(context.Background(), slog.LevelWarn, "airlock: work: Redis refuses a call", slog.String("call", call), slog.Any("error", &backendError{err}))
		}
	default:
		f := l.failing[call]
		if f.last = now; f.since.IsZero() {
			f.since = now
		}
		l.failing[call] = f
		if !l.down && now.Sub(f.since) >= lostAfter {
			l.down = true
			adapter.LogLost(l.log, name, slog.String("call", call), slog.Any("error", &backendError{err}))
		}
		return
	}
	if !l.down {
		return
	}
	for other, f := range l.failing {
		if now.Sub(f.last) < forgottenAfter {
			return
		}
		delete(l.failing, other)
	}
	l.down = false
	adapter.LogBack(l.log, name)
}

// isFinal reports whether Redis has answered with an error that it will answer with
// again, such as one about the type of a key.
func isFinal(err error) bool {
	var re redis.Error
	return errors.As(err, &re) && !adapter.RedisRefused(string(re))
}

// callTimeout bounds one call of a worker to Redis.
const callTimeout = 5 * time.Second

// do calls fn with a connection, within callTimeout.
func (w *Worker) do(ctx context.Context, call string, fn func(doer) (any, error)) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	reply, _, err := w.backend.use(ctx, fn)
	w.outages.note(call, err)
	return reply, err
}

// eval runs a script, within callTimeout. sent is false if nothing of it can have
// reached Redis.
func (w *Worker) eval(ctx context.Context, call string, script *luaScript, keys []string, argv ...any) (reply any, sent bool, err error) {
	return w.evalArgs(ctx, call, script, script.args(keys, argv...))
}

// evalArgs is eval with the arguments of EVALSHA.
func (w *Worker) evalArgs(ctx context.Context, call string, script *luaScript, args []any) (reply any, sent bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	reply, sent, err = w.backend.eval(ctx, script, args)
	w.outages.note(call, err)
	return reply, sent, err
}
