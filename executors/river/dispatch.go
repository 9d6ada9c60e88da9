package riverexec

import (
	"context"
	"errors"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/goairlock/airlock/core"
)

// dispatch stores the intents' jobs, in the caller's transaction if there is
// one. The capabilities have passed them all.
func (e *Executor[TTx]) dispatch(ctx context.Context, tx *TTx, intents []core.Intent) error {
	var out []core.Outcome // made when one is not simply accepted
	for from := 0; from < len(intents); {
		to := from + chunk(intents[from:], maxPayload)
		duplicates, failed := e.insert(ctx, tx, intents[from:to])
		if out == nil && (failed != nil || len(duplicates) > 0) {
			out = core.OutcomesOf(nil, intents)
		}
		for _, i := range duplicates {
			out[from+i].State = core.Duplicate
		}
		if failed != nil {
			copy(out[from:], failed)
			for i := to; i < len(intents); i++ {
				out[i].State, out[i].Err = core.NotSent, core.ErrEarlierFailed
			}
			break
		}
		from = to
	}
	return core.Combine(out)
}

// chunk returns how many of the intents go into one statement: those whose
// payloads and headers are at most limit bytes, but at least one.
func chunk(intents []core.Intent, limit int) int {
	const overhead = 256 // bytes of a job without its payload and headers, about
	size := 0
	for i := range intents {
		size += len(intents[i].Payload()) + intents[i].Headers().Size() + overhead
		if size > limit && i > 0 {
			return i
		}
	}
	return len(intents)
}

// batch is one insert of several jobs.
type batch struct {
	jobs    []*job // one per intent; nil for a repetition of an earlier one
	params  []river.InsertManyParams
	fast    bool            // insert with InsertManyFast, which does not report what existed
	keyed   bool            // a job has a unique key of ours
	claimed map[string]*job // the unique keys that River computed → the first job that has it
}

// claim notes a unique key that River has computed. No database takes a key
// twice in one statement, so the second job ends the call, before anything is
// sent, and is left out when it is made again.
func (b *batch) claim(j *job, key []byte) error {
	if key == nil {
		return nil
	}
	if first := b.claimed[string(key)]; first != nil {
		return &keyTwiceError{j}
	}
	if b.claimed == nil {
		b.claimed = make(map[string]*job)
	}
	b.claimed[string(key)], j.foreign = j, key
	return nil
}

type keyTwiceError struct{ second *job }

func (e *keyTwiceError) Error() string { return "airlock: river: a unique key twice in one call" }

// insert stores one chunk and returns which of its intents are duplicates, or else
// the outcomes of all of them.
func (e *Executor[TTx]) insert(ctx context.Context, tx *TTx, intents []core.Intent) (duplicates []int, failed []core.Outcome) {
	b, duplicates, failed := e.newBatch(intents)
	if failed != nil {
		return nil, failed
	}
	b.fast = b.fast && e.copies(b, tx != nil)
	var more []int // duplicates that the database or River found
	insert := func(tx TTx) (err error) {
		more, err = e.insertInto(ctx, tx, b)
		return err
	}
	at, err := e.inTransaction(ctx, tx, b, insert)
	if b.fast && b.keyed && at == inserting && sqlState(err) == uniqueViolation && ctx.Err() == nil { // sent before
		b.fast = false
		at, err = e.inTransaction(ctx, tx, b, insert)
	}
	if err != nil {
		return nil, e.failed(ctx, tx != nil, at, err, b, intents)
	}
	return append(duplicates, more...), nil
}

const uniqueViolation = "23505"

// The smallest batches with identities that are inserted by COPY. In a transaction of
// the caller's it takes a savepoint, which is two round trips and a subtransaction.
const (
	copyFrom          = 2
	copyFromSavepoint = 100
)

// copies reports whether a batch whose answers do not depend on what existed goes by
// InsertManyFast. On PostgreSQL that is COPY, which fails at a unique key that exists.
// On SQLite it is an INSERT that skips the row.
func (e *Executor[TTx]) copies(b *batch, callers bool) bool {
	switch {
	case !b.keyed || e.database == sqlite:
		return true
	case callers:
		return len(b.params) >= copyFromSavepoint
	}
	return len(b.params) >= copyFrom
}

func (e *Executor[TTx]) newBatch(intents []core.Intent) (b *batch, duplicates []int, failed []core.Outcome) {
	now := time.Now()
	b = &batch{
		params: make([]river.InsertManyParams, 0, len(intents)),
		jobs:   make([]*job, len(intents)),
		fast:   true,
	}
	var keys map[string]bool // those of jobs so far
	if len(intents) > 1 {
		keys = make(map[string]bool, len(intents))
	}
	for i := range intents {
		p, err := e.toNative(&intents[i], b, now)
		if err != nil {
			return nil, nil, core.Reject(nil, intents, i, err)
		}
		j := p.Args.(*job)
		if j.key != nil && keys[string(j.key)] {
			if isDuplicate(&intents[i]) {
				duplicates = append(duplicates, i)
			}
			continue
		}
		if j.key != nil && keys != nil {
			keys[string(j.key)] = true
		}
		b.fast = b.fast && !isDuplicate(&intents[i]) && !hasUniqueOpts(p.InsertOpts)
		b.keyed = b.keyed || j.key != nil
		b.jobs[i], b.params = j, append(b.params, p)
	}
	return b, duplicates, nil
}

// isDuplicate reports whether a job that has the intent's key already makes the intent
// a Duplicate. A generated ID that exists is the intent itself, sent before.
func isDuplicate(in *core.Intent) bool { return in.ChosenID() || in.Options.Unique != "" }

// insertInto inserts the batch and returns the indexes of duplicates.
func (e *Executor[TTx]) insertInto(ctx context.Context, tx TTx, b *batch) (duplicates []int, err error) {
	if b.fast {
		if _, err := e.client.InsertManyFastTx(ctx, tx, b.params); err != nil {
			return nil, err
		}
		return nil, e.checkConfigured(b)
	}
	results, err := e.client.InsertManyTx(ctx, tx, b.params)
	for {
		var twice *keyTwiceError
		if !errors.As(err, &twice) {
			break
		}
		clear(b.claimed)
		b.params = without(b.params, twice.second)
		for i := range b.jobs {
			if b.jobs[i] == twice.second {
				b.jobs[i] = nil
				duplicates = append(duplicates, i)
			}
		}
		results, err = e.client.InsertManyTx(ctx, tx, b.params)
	}
	if err != nil {
		return nil, err
	}
	if err := e.checkConfigured(b); err != nil {
		return nil, err
	}
	return append(duplicates, skipped(results, b.jobs)...), nil
}

// checkConfigured returns an error if River has inserted without our hook. The
// transaction is then rolled back.
func (e *Executor[TTx]) checkConfigured(b *batch) error {
	if e.configured.Load() {
		return nil
	}
	if b.params[0].Args.(*job).row == nil {
		return errNotConfigured
	}
	e.configured.Store(true)
	return nil
}

func without(params []river.InsertManyParams, j *job) []river.InsertManyParams {
	for i := range params {
		if params[i].Args == river.JobArgs(j) {
			return append(params[:i], params[i+1:]...)
		}
	}
	return params
}

// skipped returns the indexes of the duplicates that River found. Its results
// come in the order of the parameters, but PostgreSQL promises no order, so
// the keys decide.
func skipped(results []*rivertype.JobInsertResult, jobs []*job) (duplicates []int) {
	var keys map[string]bool
	for _, r := range results {
		if r.UniqueSkippedAsDuplicate {
			if keys == nil {
				keys = make(map[string]bool)
			}
			keys[string(r.Job.UniqueKey)] = true
		}
	}
	if keys == nil {
		return nil
	}
	for i, j := range jobs {
		switch {
		case j == nil:
		case j.foreign != nil && keys[string(j.foreign)], j.key != nil && keys[string(j.key)] && isDuplicate(j.intent):
			duplicates = append(duplicates, i)
		}
	}
	return duplicates
}
