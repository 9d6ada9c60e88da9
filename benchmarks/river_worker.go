package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	riverexec "github.com/goairlock/airlock/executors/river"
	"github.com/goairlock/airlock/worker"
)

// riverWorkers compares a worker of ours with River's own client, with the same
// Config. River fetches once per FetchCooldown, 100 ms by default, which would be all
// that is measured. Here it is a millisecond. The jobs of both are our executor's.
func riverWorkers() WorkerGroup {
	return WorkerGroup{Name: "worker-river", Queue: "river", Title: "Workers of River on PostgreSQL", Libraries: riverLibraries, Setup: setupRiverWorkers}
}

func setupRiverWorkers(ctx context.Context, w *world) ([]WorkerContender, error) {
	url, err := w.postgres(ctx)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return nil, err
	}
	w.Cleanup(pool.Close)
	quiet := slog.New(slog.DiscardHandler)
	driver := riverpgxv5.New(pool)
	migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: quiet})
	if err != nil {
		return nil, err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, err
	}
	insert := &river.Config{Logger: quiet, FetchCooldown: river.FetchCooldownMin} // also the pause between notifications
	if err := riverexec.ConfigureClient(insert); err != nil {
		return nil, err
	}
	client, err := river.NewClient(driver, insert)
	if err != nil {
		return nil, err
	}
	exec, err := riverexec.New(client, nil)
	if err != nil {
		return nil, err
	}
	fill := func(ctx context.Context, n int) error {
		intents, err := makeIntents(n)
		if err != nil {
			return err
		}
		_, err = pool.Exec(ctx, "DELETE FROM river_job WHERE state = 'completed'")
		return errors.Join(err, exec.Execute(ctx, intents...))
	}
	left := func(ctx context.Context) (n int, err error) {
		return n, pool.QueryRow(ctx, "SELECT count(*) FROM river_job WHERE finalized_at IS NULL").Scan(&n)
	}
	config := func() river.Config {
		return river.Config{Logger: quiet, FetchCooldown: river.FetchCooldownMin}
	}
	ours := func(ctx context.Context, slots int, handle func()) (func() error, error) {
		reg, err := worker.NewRegistry(worker.Handle(benchTask, func(context.Context, benchArgs) error { handle(); return nil }))
		if err != nil {
			return nil, err
		}
		w, err := riverexec.NewWorker(driver, reg, &riverexec.WorkerOptions{Concurrency: slots, Config: config()})
		if err != nil {
			return nil, err
		}
		return running(ctx, w.Run), nil
	}
	own := func(ctx context.Context, slots int, handle func()) (func() error, error) {
		return riverOwn(ctx, driver, config(), slots, handle)
	}
	if _, err := pool.Exec(ctx, "TRUNCATE river_job"); err != nil {
		return nil, err
	}
	w.Cleanup(func() { pool.Exec(ctx, "TRUNCATE river_job") }) //nolint:errcheck // what is left is removed by the next run
	return []WorkerContender{
		{Name: "River's client", Reference: true, Fill: fill, Start: own, Left: left},
		{Name: "airlock", Fill: fill, Start: ours, Left: left},
	}, nil
}

// riverOwn is what a program would write with River alone.
func riverOwn(ctx context.Context, driver *riverpgxv5.Driver, config river.Config, slots int, handle func()) (stop func() error, err error) {
	config.Queues = map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: slots}}
	config.Workers = river.NewWorkers()
	river.AddWorker(config.Workers, river.WorkFunc(func(context.Context, *river.Job[benchArgs]) error { handle(); return nil }))
	config.SoftStopTimeout = 20 * time.Second // as ours
	client, err := river.NewClient[pgx.Tx](driver, &config)
	if err != nil {
		return nil, err
	}
	if err := client.Start(ctx); err != nil {
		return nil, err
	}
	return func() error { return client.Stop(context.WithoutCancel(ctx)) }, nil
}
