package riverexec

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// mostParked bounds how many parked jobs are logged at a time.
const mostParked = 100

// logParked logs the jobs that an Executor has stored in our queues and that this
// client has no worker for, every ParkFor until ctx ends. They stay available for a
// client that has one. Jobs of other programs in the same queues are not ours to log.
func (w *Worker[TTx]) logParked(ctx context.Context) {
	select {
	case <-w.state.fetched:
	case <-ctx.Done():
		return
	}
	every := time.NewTicker(w.jobs.parkFor)
	defer every.Stop()
	for {
		rows, err := w.parked(ctx)
		switch {
		case err == nil:
		case ctx.Err() == nil:
			w.jobs.log().LogAttrs(ctx, slog.LevelDebug, "airlock: jobs without a handler cannot be listed",
				slog.String("executor", name), slog.String("error", adapter.ErrorText(err, maxErrorText)))
		}
		for _, row := range rows {
			run := worker.Run{
				Delivery: w.jobs.deliveryOf(context.Background(), row, readEnvelope(row)),
				Verdict:  worker.Verdict{Action: worker.Parked, After: w.jobs.parkFor, Err: core.NoHandlerError(row.Kind)},
			}
			w.jobs.registry.Report(ctx, run)
			adapter.LogRun(ctx, w.jobs.logger, run)
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			return
		}
	}
}

// parked returns the oldest jobs of an Executor in our queues that could run now and
// that this client has no worker for.
func (w *Worker[TTx]) parked(ctx context.Context) ([]*rivertype.JobRow, error) {
	ctx, cancel := context.WithTimeout(ctx, queryLimit)
	defer cancel()
	args := river.NamedArgs{}
	var marks []string
	for i, kind := range w.state.kinds {
		mark := fmt.Sprintf("kind_%05d", i) // of one length: River takes @kind_1 for a part of @kind_10
		args[mark] = kind
		marks = append(marks, "@"+mark)
	}
	params := river.NewJobListParams().Queues(w.queues...).States(rivertype.JobStateAvailable).
		Where("kind NOT IN ("+strings.Join(marks, ", ")+")", args).Where(w.storedByUs()).
		OrderBy(river.JobListOrderByID, river.SortOrderAsc).First(mostParked)
	found, err := w.client.JobList(ctx, params)
	if err != nil {
		return nil, err
	}
	return found.Jobs, nil
}

// storedByUs is the condition for the metadata of a job that an Executor has stored.
// It is what readEnvelope looks at.
func (w *Worker[TTx]) storedByUs() string {
	if database(w.client.Driver().DatabaseName()) == sqlite {
		return "(json_type(metadata, '$." + metadataKey + "') IS NOT NULL OR json_type(metadata, '$." + wrapKey + "') IS NOT NULL)"
	}
	return "(jsonb_exists(metadata, '" + metadataKey + "') OR jsonb_exists(metadata, '" + wrapKey + "'))"
}
