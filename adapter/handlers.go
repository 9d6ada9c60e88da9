package adapter

import (
	"context"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// GuardHandlers is [Guard] for an executor that runs jobs in this process. It also
// refuses a task without a handler, which neither the registry nor [core.NewTask]
// knows: the intent is Rejected with [core.ErrNoHandler], and nothing of the call
// reaches exec. A question is answered in the same way. A nil registry has no
// handlers.
func GuardHandlers(caps core.Capabilities, reg *worker.Registry, exec core.Executor) core.Executor {
	if exec == nil {
		return Guard(caps, nil)
	}
	guarded := Guard(caps, func(ctx context.Context, intents ...core.Intent) error {
		if err := reg.Check(intents...); err != nil {
			return err
		}
		return exec(ctx, intents...)
	})
	check := func(_ context.Context, intents []core.Intent) error {
		if err := refusal(&caps, intents); err != nil {
			return err
		}
		err := reg.Check(intents...)
		if err != nil && len(intents) == 1 {
			return core.OutcomesOf(err, intents)[0].Err
		}
		return err
	}
	caps = caps.Clone()
	capabilities := func() (core.Capabilities, bool) { return caps.Clone(), true }
	return func(ctx context.Context, intents ...core.Intent) error {
		if len(intents) == 0 {
			core.Answer(ctx, capabilities, check)
			return nil
		}
		return guarded(ctx, intents...)
	}
}
