package compose

import (
	"fmt"
	"maps"
	"runtime/debug"
	"slices"

	"github.com/goairlock/airlock/core"
)

// ByTask returns the task's name. See [Route].
func ByTask(in core.Intent) string { return in.Task }

// ByQueue returns the queue, or "" for an intent that names none. See [Route].
func ByQueue(in core.Intent) string { return in.Options.Queue }

// Route sends each intent to the executor that routes has for its key, which by
// returns: [ByTask], [ByQueue], or any function of the intent. An intent whose
// key has no route goes to otherwise. If otherwise is nil, the intent is Rejected
// with [core.ErrInvalid], and nothing of the call is sent.
//
// Each route is a destination of its own, even if two of them share an executor,
// and so is otherwise. The map is copied. by must be safe for concurrent use and
// depend on the intent alone. If it panics, the intent is Rejected. A nil by, a
// nil executor in routes, and no executor at all are [core.ErrInvalid] at each
// call.
func Route(by func(core.Intent) string, routes map[string]core.Executor, otherwise core.Executor) core.Executor {
	r := router{by: by, index: make(map[string]int, len(routes)), otherwise: -1}
	var to destinations
	var bad error
	if by == nil {
		bad = invalidf("Route: nil function")
	}
	for _, key := range slices.Sorted(maps.Keys(routes)) {
		if routes[key] == nil {
			bad = invalidf("Route: nil executor for %q", key)
		}
		r.index[key] = len(to)
		to = append(to, routes[key])
	}
	if otherwise != nil {
		r.otherwise = len(to)
		to = append(to, otherwise)
	}
	if len(to) == 0 {
		bad = invalidf("Route: no executor")
	}
	return wrapDestinations(bad, to, r.choose)
}

type router struct {
	by        func(core.Intent) string
	index     map[string]int // of a key's destination
	otherwise int            // index of the destination, -1 for none
}

func (r *router) choose(in *core.Intent) (to int, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &core.PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	key := r.by(*in)
	to, ok := r.index[key]
	if !ok {
		to = r.otherwise
	}
	if to < 0 {
		return 0, fmt.Errorf("airlock: compose: task %s: no route for %q: %w", in.Task, key, core.ErrInvalid)
	}
	return to, nil
}
