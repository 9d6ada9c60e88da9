package asynqexec

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/core"
)

// Recording is shared out, as Redis has nothing to do meanwhile.
const (
	mostRecorders = 4
	leastRecorded = 200 // intents that are worth a goroutine
)

// pipeline is what a batch of intents sends.
type pipeline struct {
	steps    []step // of the intents, in their order
	panicked error
}

// step is one script to be run.
type step struct {
	half  *half
	queue string
	keys  []string
	args  []any
	cmd   *redis.Cmd
	err   error // of its pipeline
}

func (s *step) reply() reply { return replyOf(s.cmd, s.err) }

// recorded is the first part of what is left of a call.
type recorded struct {
	*pipeline
	intents int // how many it takes
	err     error
}

// recordNext records the next pipeline of a call.
func (e *Executor) recordNext(intents []core.Intent) recorded {
	n := chunk(intents)
	p, err := e.record(intents[:n])
	return recorded{p, n, err}
}

// recordAhead does so meanwhile. Whoever calls it waits for the result.
func (e *Executor) recordAhead(intents []core.Intent) <-chan recorded {
	done := make(chan recorded, 1)
	go func() { done <- e.recordNext(intents) }()
	return done
}

// record lets asynq enqueue the intents without sending anything.
func (e *Executor) record(intents []core.Intent) (*pipeline, error) {
	p := &pipeline{steps: make([]step, len(intents))}
	recorders := min(runtime.GOMAXPROCS(0), mostRecorders, (len(intents)+leastRecorded-1)/leastRecorded)
	size := (len(intents) + recorders - 1) / recorders
	errs := make([]error, recorders)
	var wg sync.WaitGroup
	from, n := 0, 0
	for part := range slices.Chunk(intents, size) {
		steps, err := p.steps[from:from+len(part):from+len(part)], &errs[n]
		if from += len(part); from == len(intents) {
			e.recordPart(part, steps, err) // the last part is for this goroutine
			break
		}
		n++
		wg.Go(func() { e.recordPart(part, steps, err) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return p, nil
}

// recordPart writes down the steps of some intents.
func (e *Executor) recordPart(intents []core.Intent, steps []step, failed *error) {
	defer contain(failed)
	rec := &recording{Context: context.Background(), steps: steps[:0]}
	buf := make([]asynq.Option, 0, mostOptions)
	now := time.Now()
	for i := range intents {
		rec.next = e.order(&intents[i], buf, now)
		if _, err := e.recorder.EnqueueContext(rec, rec.next.task); err != nil {
			*failed = fmt.Errorf("airlock: asynq: task %s: %w", intents[i].Task, err)
			return
		}
		if len(rec.steps) != i+1 {
			*failed = errLibrary
			return
		}
	}
}

// play sends what was recorded, in one pipeline (on a cluster, go-redis makes one
// for each node). The queues are announced anew each time: asynq does so once in
// a client's life, and a Redis that has lost its data would not list them again.
func (p *pipeline) play(ctx context.Context, rdb redis.UniversalClient) {
	send(ctx, rdb, p.steps, true)
	var again []step // another client has flushed the scripts, or a slot has moved
	var at []int
	for i := range p.steps {
		if redis.HasErrorPrefix(p.steps[i].cmd.Err(), "NOSCRIPT") {
			again, at = append(again, p.steps[i]), append(at, i)
		}
	}
	if len(again) == 0 {
		return
	}
	send(ctx, rdb, again, false)
	for k, i := range at {
		p.steps[i] = again[k]
	}
}

// send sends the first script of its kind for each queue with its source, so that
// an empty script cache costs no further round trip. It is for each queue because
// the queues of a cluster are on several nodes.
func send(ctx context.Context, rdb redis.UniversalClient, steps []step, announce bool) {
	type place struct{ sha, queue string }
	pipe := rdb.Pipeline()
	queues, loaded := map[string]bool{}, map[place]bool{}
	var last place
	for i := range steps {
		s := &steps[i]
		here := place{s.half.sha, s.queue}
		if here == last || loaded[here] {
			s.cmd = pipe.EvalSha(ctx, s.half.sha, s.keys, s.args...)
		} else {
			if announce && !queues[s.queue] {
				queues[s.queue] = true
				pipe.SAdd(ctx, allQueues, s.queue)
			}
			loaded[here] = true
			s.cmd = pipe.Eval(ctx, s.half.source, s.keys, s.args...)
		}
		last = here
	}
	if _, err := pipe.Exec(ctx); err != nil {
		for i := range steps {
			steps[i].err = err
		}
	}
}

const allQueues = "asynq:queues"
