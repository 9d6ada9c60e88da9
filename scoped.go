package airlock

import (
	"context"
	"sync"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// Scoped is a middleware for a [worker.Registry]. Each job runs in a scope of its
// own, so what it enqueues leaves only if the job succeeded. If the flush fails,
// the job has failed.
//
// The IDs of the job's children follow from the job's own ID, the child's task and
// payload, and its occurrence among equal ones, unless the child's ID was chosen.
// So a job that runs again after its children were sent makes the same children,
// not new ones, as long as the executor remembers their IDs.
//
// Scoped does not ask exec anything; each job's scope does. So exec may be a
// function that calls an executor made later.
func Scoped(exec core.Executor, opts ...RunOption) worker.Middleware {
	return func(ctx context.Context, next func(context.Context) error) error {
		job, ok := worker.JobFrom(ctx)
		if !ok || job.ID == "" {
			return Run(ctx, exec, next, opts...)
		}
		children := optionFunc(func(s *settings) error {
			s.children = &childIDs{parent: job.ID}
			return nil
		})
		return Run(ctx, exec, next, append([]RunOption{children}, opts...)...)
	}
}

// childIDs gives the children of one job their IDs. It does so when they leave the
// job's scope: an intent that was discarded does not count as an occurrence.
type childIDs struct {
	parent string

	mu   sync.Mutex
	seen map[child]int // guarded by mu; how many of each have left
}

type child struct{ task, payload string }

// assign changes the IDs of intents in place.
func (c *childIDs) assign(intents []core.Intent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil {
		c.seen = make(map[child]int, len(intents))
	}
	for i := range intents {
		if intents[i].ChosenID() {
			continue
		}
		key := child{intents[i].Task, string(intents[i].Payload())}
		intents[i] = intents[i].DeriveID(c.parent, c.seen[key])
		c.seen[key]++
	}
}
