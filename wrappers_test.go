package airlock_test

import (
	"context"
	"testing"
	"time"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
)

func TestAScopeAroundWrappersChecksAndFlushesThroughThem(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string]func(core.Executor) core.Executor{
		"retry":    func(e core.Executor) core.Executor { return compose.WithRetry(e, compose.Retry{}) },
		"timeout":  func(e core.Executor) core.Executor { return compose.WithTimeout(e, time.Minute) },
		"log":      func(e core.Executor) core.Executor { return compose.WithLog(e, nil) },
		"priority": func(e core.Executor) core.Executor { return compose.WithPriority(e, e, 5) },
		"route":    func(e core.Executor) core.Executor { return compose.Route(compose.ByTask, nil, e) },
		"nested": func(e core.Executor) core.Executor {
			return compose.WithRetry(compose.Route(compose.ByTask, nil, compose.WithTimeout(e, time.Minute)), compose.Retry{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var s sink
			nest(t, t.Context(), wrap(taking(&s)), func(ctx context.Context) {
				wantIs(t, enqueuePriority(ctx), core.ErrUnsupported)
				enqueue(t, ctx, "a")
			})
			wantGot(t, &s, "a")
			err := airlock.Run(t.Context(), wrap(nil), func(context.Context) error { t.Error("fn was called"); return nil })
			wantIs(t, err, core.ErrInvalid)
		})
	}
}
