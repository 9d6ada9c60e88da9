package queue

import (
	"context"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	riverexec "github.com/goairlock/airlock/executors/river"
	"github.com/goairlock/airlock/worker"
)

// openRiver keeps jobs in the service's database. A service with River alone needs no
// outbox: see riverexec.InTx. This one has it, so that every queue works in one way.
func openRiver(ctx context.Context, c Config) (*Queue, error) {
	driver := riverpgxv5.New(c.DB)
	migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: c.Logger})
	if err != nil {
		return nil, err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, err
	}
	config := &river.Config{Logger: c.Logger}
	if err := riverexec.ConfigureClient(config); err != nil {
		return nil, err
	}
	client, err := river.NewClient(driver, config)
	if err != nil {
		return nil, err
	}
	exec, err := riverexec.New(client, nil)
	if err != nil {
		return nil, err
	}
	return &Queue{
		Executor: exec.Execute, Check: exec.CheckServer,
		Worker: func(reg *worker.Registry, queues []string) (Runner, error) {
			return riverexec.NewWorker(driver, reg, &riverexec.WorkerOptions{Queues: queues, Logger: c.Logger})
		},
	}, nil
}
