package main

import (
	"context"
	"time"

	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
	syncexec "github.com/goairlock/airlock/executors/sync"
)

var syncExecutor = executor{
	name:  "sync",
	about: "in the caller's goroutine, at once",
	open: func(_ context.Context, reg *core.Registry) (*queue, error) {
		ex, err := syncexec.New(&syncexec.Options{Registry: reg})
		if err != nil {
			return nil, err
		}
		return &queue{
			// It cannot wait, and says so. Here that is all right, and dropping an
			// option is never silent.
			exec: compose.Strip(ex.Execute, core.OptionDelay),
			late: time.Second,
			stop: func(context.Context) error { return nil },
		}, nil
	},
}
