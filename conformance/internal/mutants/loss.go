package mutants

import (
	"context"
	"fmt"
	"time"

	"github.com/goairlock/airlock/core"
)

var lossMutants = []Variant{
	queue("drops-every-97th", "K01", "loses some jobs", bug{inner: dropping(func(n int, _ core.Intent, _ int) bool { return n%97 == 0 })}),
	queue("batch-drops-last", "B01", "loses the last job of a batch", batchOnly(bug{inner: dropping(func(_ int, _ core.Intent, left int) bool { return left == 1 })})),
	queue("chunk-of-500", "B01", "loses all but the first 500 jobs of a batch", bug{inner: func(next core.Executor, _ *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			return next(ctx, intents[:min(len(intents), 500)]...)
		}
	}}),
	queue("twice-after-5ms", "K02", "runs each job again", twice(5*time.Millisecond)).like("watermill TestPubSub passes with it from 150 ms on"),
	queue("twice-after-150ms", "K02", "runs each job again", twice(150*time.Millisecond)).like("watermill TestPubSub passes with it"),
	queue("twice-after-2s", "K02", "runs each job again", twice(2*time.Second)).like("go-cloud pubsub/drivertest passes with it"),
	queue("refused-but-stored", "K03", "stores what it refuses", bug{outer: func(next core.Executor, s *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			err := next(ctx, intents...)
			if len(intents) == 1 && ctx != nil && ctx.Err() == nil && core.OutcomesOf(err, intents)[0].State == core.Rejected && intents[0].ID != "" {
				s.execute(ctx, intents...) //nolint:errcheck // that is the bug
			}
			return err
		}
	}}),
	queue("ghost", "K04", "runs a job that nobody sent", bug{admit: func(s *store, j *job) bool {
		if s.nextSeq%7 == 0 && j.in.Task == "conformance.job" {
			ghost := *j
			ghost.payload = []byte(fmt.Sprintf(`{"ref":"ghost-%d"}`, s.nextSeq))
			s.put(&ghost, time.Now())
		}
		return true
	}}),
	queue("one-namespace", "K08", "keeps all systems in one store", bug{shared: true}).sometimes("M03"), // the worker of another system may be faster
	queue("needs-worker", "K09", "drops jobs that arrive while no worker runs", bug{inner: func(next core.Executor, s *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			s.mu.Lock()
			working := s.worker != nil
			s.mu.Unlock()
			if !working {
				return nil
			}
			return next(ctx, intents...)
		}
	}}),
}
