package riverexec

import (
	"context"

	"github.com/riverqueue/river/riverdriver"

	"github.com/goairlock/airlock/core"
)

// maxTrials bounds how many inserts are tried to find the rows at fault. One row
// among 10 000 takes 27.
const maxTrials = 200

// culprits returns the jobs whose rows the database refuses, with its errors. It
// inserts halves of the refused batch, then halves of the refused halves, each in
// a savepoint that is rolled back. It inserts the rows as River had prepared them,
// so hooks and middleware of the client's are not called again. A batch that is
// refused only as a whole has no culprits.
func (e *Executor[TTx]) culprits(ctx context.Context, b *batch) map[*job]error {
	jobs := make([]*job, 0, len(b.params))
	for _, p := range b.params {
		j := p.Args.(*job)
		if j.row == nil {
			return nil // not prepared: a hook or middleware stopped the call
		}
		jobs = append(jobs, j)
	}
	tx, err := e.client.Driver().GetExecutor().Begin(ctx)
	if err != nil {
		return nil
	}
	defer rollback(ctx, tx)
	found := make(map[*job]error)
	s := search[TTx]{e, tx, maxTrials, found}
	s.halves(ctx, jobs)
	return found
}

// search finds culprits by bisection.
type search[TTx any] struct {
	exec   *Executor[TTx]
	tx     riverdriver.ExecutorTx
	trials int // that may still be made
	found  map[*job]error
}

func (s *search[TTx]) halves(ctx context.Context, jobs []*job) {
	middle := len(jobs) / 2
	for _, half := range [][]*job{jobs[:middle], jobs[middle:]} {
		if len(half) == 0 || s.trials == 0 {
			continue
		}
		s.trials--
		err := s.try(ctx, half)
		switch {
		case err == nil:
		case !dataRefused(err):
			s.trials = 0 // the database is no longer able to say
		case len(half) == 1:
			s.found[half[0]] = err
		default:
			s.halves(ctx, half)
		}
	}
}

func (s *search[TTx]) try(ctx context.Context, jobs []*job) error {
	savepoint, err := s.tx.Begin(ctx)
	if err != nil {
		return err
	}
	defer rollback(ctx, savepoint)
	rows := make([]*riverdriver.JobInsertFastParams, len(jobs))
	for i, j := range jobs {
		rows[i] = (*riverdriver.JobInsertFastParams)(j.row)
	}
	_, err = savepoint.JobInsertFastMany(ctx, &riverdriver.JobInsertFastManyParams{Jobs: rows, Schema: s.exec.client.Schema()})
	return err
}

// refusedBatch returns the outcomes of a batch that the database refused.
func (e *Executor[TTx]) refusedBatch(ctx context.Context, err error, b *batch, intents []core.Intent) []core.Outcome {
	found := e.culprits(ctx, b)
	if len(found) == 0 {
		return core.Outcomes(intents, core.NotSent, wrap(err))
	}
	var out []core.Outcome
	for i, j := range b.jobs {
		if refusal := found[j]; j != nil && refusal != nil {
			out = core.Reject(out, intents, i, invalid(refusal))
		}
	}
	return out
}
