package main

import (
	"context"
	"time"

	"github.com/goairlock/airlock/core"
	poolexec "github.com/goairlock/airlock/executors/pool"
)

var poolExecutor = executor{
	name:  "pool",
	about: "on goroutines of this process",
	open: func(_ context.Context, reg *core.Registry) (*queue, error) {
		ex, err := poolexec.New(&poolexec.Options{Registry: reg})
		if err != nil {
			return nil, err
		}
		return &queue{exec: ex.Execute, late: time.Second, stop: ex.Stop}, nil
	},
}
