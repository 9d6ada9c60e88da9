package airlock

import (
	"context"
	"sync"

	"github.com/goairlock/airlock/core"
)

// Scoped is a middleware for a [core.Registry]: each job runs in a scope of its
// own, so that what it enqueues leaves only if it succeeded. If the flush fails
// the job has failed.
//
// The children's IDs follow from the job's own ID, the child's task and payload,
// and its occurrence among equal ones, unless the child's ID was chosen. So a
// job that runs again, after its children were sent but before that was known,
// makes the same children and not new ones, as long as the executor remembers
// their IDs.
func Scoped(exec core.Executor, opts ...Option) core.Middleware {
	return func(ctx context.Context, next func(context.Context) error) error {
		job, ok := core.JobFrom(ctx)
		if !ok || job.ID == "" {
			return Run(ctx, exec, next, opts...)
		}
		parent := optionFunc(func(s *settings) error {
			s.children = &lineage{parent: job.ID}
			return nil
		})
		return Run(ctx, exec, next, append([]Option{parent}, opts...)...)
	}
}

// lineage gives the children of one job their IDs. It does so when they leave:
// what was enqueued and discarded on the way must not count as an occurrence.
type lineage struct {
	parent string

	mu   sync.Mutex
	seen map[child]int // guarded by mu; how many of each have left
}

type child struct{ task, payload string }

// name renames the intents in place.
func (l *lineage) name(intents []core.Intent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil {
		l.seen = make(map[child]int, len(intents))
	}
	for i := range intents {
		if intents[i].ChosenID() {
			continue
		}
		c := child{intents[i].Task, string(intents[i].Payload())}
		intents[i] = intents[i].DeriveID(l.parent, l.seen[c])
		l.seen[c]++
	}
}
