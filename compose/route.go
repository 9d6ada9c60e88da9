package compose

import (
	"context"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"

	"github.com/goairlock/airlock/core"
)

// ByTask routes by the task's name. See [Route].
func ByTask(in core.Intent) string { return in.Task }

// ByQueue routes by the queue, "" for an intent that names none. See [Route].
func ByQueue(in core.Intent) string { return in.Options.Queue }

// Route sends each intent to the executor that routes has for its key: [ByTask],
// [ByQueue], or any function of the intent. An intent whose key has no route
// goes to otherwise; if that is nil it is Rejected with [core.ErrInvalid], and
// nothing of the call is sent.
//
// Each route is a destination of its own, even where two of them share an
// executor, and so is otherwise. The map is copied. by must be safe for
// concurrent use; its panic makes the intent Rejected. A nil by, a nil executor
// in routes, and no executor at all are [core.ErrInvalid] at each call.
func Route(by func(core.Intent) string, routes map[string]core.Executor, otherwise core.Executor) core.Executor {
	r := router{by: by, sides: make(map[string]int, len(routes)), otherwise: -1}
	var bad error
	if by == nil {
		bad = invalidf("Route: nil function")
	}
	for _, key := range slices.Sorted(maps.Keys(routes)) {
		if routes[key] == nil {
			bad = invalidf("Route: nil executor for %q", key)
		}
		r.sides[key] = len(r.to)
		r.to = append(r.to, routes[key])
	}
	if otherwise != nil {
		r.otherwise = len(r.to)
		r.to = append(r.to, otherwise)
	}
	if len(r.to) == 0 {
		bad = invalidf("Route: no executor")
	}
	return wrap(bad, func(ctx context.Context, intents []core.Intent) []core.Outcome {
		return r.to.deliver(ctx, intents, r.side)
	})
}

type router struct {
	by        func(core.Intent) string
	to        destinations
	sides     map[string]int // index into to
	otherwise int            // index into to, -1 for none
}

func (r *router) side(in *core.Intent) (side int, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &core.PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	key := r.by(*in)
	side, ok := r.sides[key]
	if !ok {
		side = r.otherwise
	}
	if side < 0 {
		return 0, fmt.Errorf("airlock: task %s: no route for %q: %w", in.Task, key, core.ErrInvalid)
	}
	return side, nil
}
