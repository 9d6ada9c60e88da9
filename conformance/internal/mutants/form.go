package mutants

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// misanswering makes an executor that changes the outcomes of calls which fail.
func misanswering(change func(intents []core.Intent, out []core.Outcome) error) func(core.Executor) core.Executor {
	return func(next core.Executor) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			err := next(ctx, intents...)
			if de := (*core.DispatchError)(nil); errors.As(err, &de) && len(intents) > 0 {
				return change(intents, de.Outcomes)
			}
			return err
		}
	}
}

// formMutants return errors that do not have the form of an answer, although each
// intent can be found in them. Each is found because every error of every check is
// looked at.
var formMutants = []Variant{
	queue("closed-has-one-more", AnyEnding, "has an outcome of no intent in the error of a closed executor", bug{
		outer: func(next core.Executor, _ *system) core.Executor {
			return misanswering(func(_ []core.Intent, out []core.Outcome) error {
				if errors.Is(out[0].Err, core.ErrClosed) {
					out = append(out, core.Outcome{ID: "none", State: core.NotSent, Err: core.ErrClosed})
				}
				return core.Combine(out)
			})(next)
		},
	}),
	queue("duplicates-in-first-queue", AnyEnding, "has the queue of the first intent in the outcomes of all duplicates", bug{
		outer: func(next core.Executor, _ *system) core.Executor {
			return misanswering(func(intents []core.Intent, out []core.Outcome) error {
				for i := range out {
					if out[i].Queue = intents[i].Options.Queue; out[i].State == core.Duplicate {
						out[i].Queue = intents[0].Options.Queue + "s"
					}
				}
				return core.Combine(out)
			})(next)
		},
	}),
	queue("refusals-share-a-buffer", AnyEnding, "writes the outcomes of a large call that it refuses into the error of the one before", func() bug {
		b := boundedPool(64, nil)
		var mu sync.Mutex
		buffer := make([]core.Outcome, 2000)
		b.outer = func(next core.Executor, _ *system) core.Executor {
			return misanswering(func(_ []core.Intent, out []core.Outcome) error {
				refused := slices.ContainsFunc(out, func(o core.Outcome) bool { return o.State == core.Rejected })
				if len(out) < 50 || !refused {
					return core.Combine(out)
				}
				mu.Lock()
				defer mu.Unlock()
				return core.Combine(buffer[:copy(buffer, out)])
			})(next)
		}
		return b
	}()),
	inline("inline-rest-is-unknown-too", AnyEnding, "says that the intents behind a failed one are not sent, with the error of an unknown outcome", inlineCaps(), func(next core.Executor, _ *worker.Registry) core.Executor {
		return misanswering(func(_ []core.Intent, out []core.Outcome) error {
			for i := 1; i < len(out); i++ {
				if out[i].State == core.NotSent && out[i-1].State == core.Failed {
					out[i].Err = fmt.Errorf("behind a failure: %w", core.ErrUnknownOutcome)
				}
			}
			return core.Combine(out)
		})(next)
	}),
}
