package riverexec

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/riverqueue/river/riverdriver"
)

// silentExecutor is a database that never answers.
type silentExecutor struct{ riverdriver.Executor }

func (silentExecutor) Ping(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func (e silentExecutor) InitDriver(ctx context.Context) error { return e.Ping(ctx) }

func (e silentExecutor) JobGetAvailable(ctx context.Context, _ *riverdriver.JobGetAvailableParams) (*riverdriver.JobGetAvailableResult, error) {
	return nil, e.Ping(ctx)
}

func TestASilentDatabaseHoldsUpNoCallForEver(t *testing.T) {
	t.Parallel()
	exec := workerExecutor{silentExecutor{}, &driverState{jobs: &jobWorker{logger: slog.New(slog.DiscardHandler)}}}
	for name, call := range map[string]func(context.Context) error{
		"Ping": exec.Ping, "InitDriver": exec.InitDriver,
		"JobGetAvailable": func(ctx context.Context) error {
			_, err := exec.JobGetAvailable(ctx, &riverdriver.JobGetAvailableParams{})
			return err
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			if err := call(context.Background()); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	if !exec.state.lost.Load() {
		t.Error("the database is not noted as lost")
	}
}
