package riverexec

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/goairlock/airlock/core"
)

// dispatch stores the intents' jobs, in the caller's transaction if there is
// one. The capabilities have passed them all.
func (e *Executor[TTx]) dispatch(ctx context.Context, tx *TTx, intents []core.Intent) error {
	if err := e.checkConfigured(ctx, tx, intents[0].Task); err != nil {
		return core.Combine(failed(ctx, err, intents))
	}
	var out []core.Outcome // made when one is not simply accepted
	for from := 0; from < len(intents); {
		to := from + chunk(intents[from:], maxPayload)
		duplicates, err := e.insert(ctx, tx, intents[from:to])
		if out == nil && (err != nil || len(duplicates) > 0) {
			out = core.OutcomesOf(nil, intents)
		}
		for _, i := range duplicates {
			out[from+i].State = core.Duplicate
		}
		if err != nil {
			copy(out[from:], failed(ctx, err, intents[from:to]))
			for i := to; i < len(intents); i++ {
				out[i].State, out[i].Err = core.NotSent, errAfterFailure
			}
			break
		}
		from = to
	}
	return core.Combine(out)
}

var errAfterFailure = fmt.Errorf("airlock: river: an earlier part of the call failed: %w", core.ErrNotSent)

// chunk returns how many of the intents go into one statement: those whose
// payloads and headers are at most limit bytes, but at least one.
func chunk(intents []core.Intent, limit int) int {
	const besides = 256 // bytes of a job beside its payload and headers, about
	size := 0
	for i := range intents {
		size += len(intents[i].Payload()) + intents[i].Headers().Size() + besides
		if size > limit && i > 0 {
			return i
		}
	}
	return len(intents)
}

// batch is one call of InsertMany.
type batch struct {
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

// insert stores one chunk and returns which of its intents are duplicates.
func (e *Executor[TTx]) insert(ctx context.Context, tx *TTx, intents []core.Intent) (duplicates []int, err error) {
	b, now := new(batch), time.Now()
	params := make([]river.InsertManyParams, 0, len(intents))
	jobs := make([]*job, len(intents)) // nil for one that stands in the chunk already
	var keys map[string]bool           // those of jobs so far
	if len(intents) > 1 {
		keys = make(map[string]bool, len(intents))
	}
	fast := e.options.NoIdentity
	for i := range intents {
		p, err := e.mapped(&intents[i], b, now)
		if err != nil {
			return nil, err
		}
		j := p.Args.(*job)
		if j.key != nil && keys[string(j.key)] {
			if tells(&intents[i]) {
				duplicates = append(duplicates, i)
			}
			continue
		}
		if j.key != nil && keys != nil {
			keys[string(j.key)] = true
		}
		fast = fast && j.key == nil && !hasUniqueOpts(p.InsertOpts)
		jobs[i], params = j, append(params, p)
	}
	if fast {
		return nil, e.insertFast(ctx, tx, params)
	}
	results, err := e.insertMany(ctx, tx, params)
	for {
		var twice *keyTwiceError
		if !errors.As(err, &twice) {
			break
		}
		clear(b.claimed)
		params = without(params, twice.second)
		for i := range jobs {
			if jobs[i] == twice.second {
				jobs[i] = nil
				duplicates = append(duplicates, i)
			}
		}
		results, err = e.insertMany(ctx, tx, params)
	}
	if err != nil {
		return nil, err
	}
	return append(duplicates, skipped(results, jobs)...), nil
}

func (e *Executor[TTx]) insertMany(ctx context.Context, tx *TTx, params []river.InsertManyParams) ([]*rivertype.JobInsertResult, error) {
	if tx != nil {
		return e.client.InsertManyTx(ctx, *tx, params)
	}
	return e.client.InsertMany(ctx, params)
}

func (e *Executor[TTx]) insertFast(ctx context.Context, tx *TTx, params []river.InsertManyParams) (err error) {
	if tx != nil {
		_, err = e.client.InsertManyFastTx(ctx, *tx, params)
	} else {
		_, err = e.client.InsertManyFast(ctx, params)
	}
	return err
}

func without(params []river.InsertManyParams, j *job) []river.InsertManyParams {
	for i := range params {
		if params[i].Args == river.JobArgs(j) {
			return append(params[:i], params[i+1:]...)
		}
	}
	return params
}

// tells reports whether a job that is there already makes the intent a
// Duplicate. A generated ID that is there is the intent itself, sent before.
func tells(in *core.Intent) bool {
	return in.ChosenID() || in.Options.Unique != "" || in.Has(core.OptionNative)
}

// skipped returns the indexes of the duplicates that River found. Its results
// come in the order of the parameters, but PostgreSQL promises no order, so
// they are told by their keys.
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
		case j.foreign != nil && keys[string(j.foreign)], j.key != nil && keys[string(j.key)] && tells(j.intent):
			duplicates = append(duplicates, i)
		}
	}
	return duplicates
}
