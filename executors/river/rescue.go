package riverexec

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/worker"
)

// River's rescuer discards stuck jobs of kinds that it does not know, stops at a job
// whose metadata it cannot read, and reports no job that it discards. The driver of
// a Worker's client corrects this.

// stuckJob is a job that has been running for longer than RescueStuckJobsAfter.
type stuckJob struct {
	attempt, maxAttempts int
	ours                 bool
}

// JobGetStuck returns the jobs that have been running for too long.
func (e workerExecutor) JobGetStuck(ctx context.Context, params *riverdriver.JobGetStuckParams) ([]*rivertype.JobRow, error) {
	rows, err := e.Executor.JobGetStuck(ctx, params)
	stuck := make(map[int64]stuckJob, len(rows))
	for _, row := range rows {
		stuck[row.ID] = stuckJob{row.Attempt, row.MaxAttempts, e.state.jobs.owns(row)}
		// What the rescuer reads of the metadata. It would stop at the first job
		// whose metadata it cannot read.
		var meta struct {
			CancelAttemptedAt time.Time `json:"cancel_attempted_at"`
		}
		if json.Unmarshal(row.Metadata, &meta) != nil {
			row.Metadata = []byte("{}")
		}
	}
	e.state.mu.Lock()
	e.state.stuck = stuck
	e.state.mu.Unlock()
	return rows, err
}

// JobRescueMany makes stuck jobs available again or discards them.
func (e workerExecutor) JobRescueMany(ctx context.Context, params *riverdriver.JobRescueManyParams) (*struct{}, error) {
	p := *params
	p.Error, p.FinalizedAt = slices.Clone(p.Error), slices.Clone(p.FinalizedAt)
	p.ScheduledAt, p.State = slices.Clone(p.ScheduledAt), slices.Clone(p.State)
	var dead []int64
	e.state.mu.Lock()
	for i, id := range p.ID {
		job, ok := e.state.stuck[id]
		switch {
		case !ok || p.State[i] != string(rivertype.JobStateDiscarded):
		case job.attempt < job.maxAttempts: // discarded for its kind alone
			p.State[i], p.FinalizedAt[i], p.ScheduledAt[i] = string(rivertype.JobStateRetryable), nil, time.Now()
		case job.ours:
			dead = append(dead, id)
			if text, err := json.Marshal(rivertype.AttemptError{At: time.Now(), Attempt: job.attempt, Error: errUsedUp.Error()}); err == nil {
				p.Error[i] = text
			}
		}
	}
	e.state.mu.Unlock()
	res, err := e.Executor.JobRescueMany(ctx, &p)
	if err == nil && len(dead) > 0 {
		e.reportDead(ctx, dead, p.Schema)
	}
	return res, err
}

// reportDead logs the jobs that were discarded: not those whose worker has renewed
// its lease meanwhile.
func (e workerExecutor) reportDead(ctx context.Context, ids []int64, schema string) {
	rows, err := e.Executor.JobGetByIDMany(ctx, &riverdriver.JobGetByIDManyParams{ID: ids, Schema: schema})
	if err != nil {
		return // the reason is in the record of the job
	}
	for _, row := range rows {
		if row.State != rivertype.JobStateDiscarded {
			continue
		}
		run := worker.Run{
			Delivery: e.state.jobs.deliveryOf(context.Background(), row, readEnvelope(row)),
			Verdict:  worker.Verdict{Action: worker.Dead, Err: errUsedUp},
		}
		e.state.jobs.registry.Report(ctx, run)
		adapter.LogRun(ctx, e.state.jobs.logger, run)
	}
}
