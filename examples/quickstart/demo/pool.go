package demo

import (
	"context"

	poolexec "github.com/goairlock/airlock/executors/pool"
)

// OpenPool opens the executor pool.
func OpenPool(_ context.Context, run *Run) (*Queue, error) {
	ex, err := poolexec.New(&poolexec.Options{Registry: run.Registry})
	if err != nil {
		return nil, err
	}
	return &Queue{Exec: ex.Execute, Stop: ex.Stop}, nil
}
