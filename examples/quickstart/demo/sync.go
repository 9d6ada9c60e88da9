package demo

import (
	"context"

	"github.com/goairlock/airlock/core"
	syncexec "github.com/goairlock/airlock/executors/sync"
)

// OpenSync opens the executor sync.
func OpenSync(_ context.Context, run *Run) (*Queue, error) {
	ex, err := syncexec.New(&syncexec.Options{Registry: run.Registry})
	if err != nil {
		return nil, err
	}
	q := &Queue{Exec: ex.Execute, Stop: func(context.Context) error { return nil }}
	if !run.Options.Outbox { // an outbox keeps a job until it is due
		q.Drops = []core.OptionName{core.OptionDelay}
	}
	return q, nil
}
