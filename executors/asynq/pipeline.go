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

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

// A large chunk is prepared by several goroutines, since Redis has nothing to do
// meanwhile.
const (
	maxPreparers = 4
	minPrepared  = 200 // intents that are worth a goroutine
)

// pipeline is what a chunk of intents sends.
type pipeline struct {
	steps    []step // of the intents, in their order
	err      error  // why it cannot be sent
	panicked error
}

// step is one script to be run.
type step struct {
	lua   *luaSource
	queue string
	keys  []string
	args  []any
	sent  sentArg // one of args
	cmd   *redis.Cmd
	err   error // of its pipeline
}

func (s *step) reply() reply { return replyOf(s.cmd, s.err, &s.sent) }

// preparePipeline lets asynq enqueue the intents without sending anything.
func (e *Executor) preparePipeline(intents []core.Intent) *pipeline {
	p := &pipeline{steps: make([]step, len(intents))}
	preparers := min(runtime.GOMAXPROCS(0), maxPreparers, (len(intents)+minPrepared-1)/minPrepared)
	size := (len(intents) + preparers - 1) / preparers
	errs := make([]error, preparers)
	var wg sync.WaitGroup
	from, n := 0, 0
	for part := range slices.Chunk(intents, size) {
		steps, err := p.steps[from:from+len(part):from+len(part)], &errs[n]
		if from += len(part); from == len(intents) {
			e.prepareSteps(part, steps, err) // the last part is for this goroutine
			break
		}
		n++
		wg.Go(func() { e.prepareSteps(part, steps, err) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			p.err = err
			break
		}
	}
	return p
}

// prepareSteps fills the steps of some intents.
func (e *Executor) prepareSteps(intents []core.Intent, steps []step, failed *error) {
	defer contain(failed)
	capture := &batchCapture{Context: context.Background(), steps: steps[:0]}
	buf := make([]asynq.Option, 0, maxOptions)
	now := time.Now()
	for i := range intents {
		capture.next = e.toNative(&intents[i], buf, now)
		if _, err := e.batch.EnqueueContext(capture, capture.next.task); err != nil {
			*failed = fmt.Errorf("airlock: asynq: task %s: %w", intents[i].Task, adapter.Masked(err))
			return
		}
		if len(capture.steps) != i+1 {
			*failed = errLibrary
			return
		}
	}
}

// send sends the steps in one pipeline (on a cluster, go-redis makes one for each
// node). The queues are announced each time: asynq does so once in a client's
// life, and a Redis that has lost its data would not list them again.
func (p *pipeline) send(ctx context.Context, rdb redis.UniversalClient) {
	steps := make([]*step, len(p.steps))
	for i := range p.steps {
		steps[i] = &p.steps[i]
	}
	sendSteps(ctx, rdb, steps, true)
	// Somebody may have flushed the scripts meanwhile, or a slot has moved.
	again := slices.DeleteFunc(steps, func(s *step) bool { return !redis.HasErrorPrefix(s.cmd.Err(), "NOSCRIPT") })
	if len(again) > 0 {
		sendSteps(ctx, rdb, again, false)
	}
	closeCondemned(ctx, rdb, p.steps[0].cmd.Err())
}

// sendSteps sends the first script of its kind for each queue with its source,
// so that an empty script cache costs no further round trip. It is for each queue
// because the queues of a cluster are on several nodes.
func sendSteps(ctx context.Context, rdb redis.UniversalClient, steps []*step, announce bool) {
	type scriptOnQueue struct{ sha, queue string }
	pipe := rdb.Pipeline()
	queues, loaded := map[string]bool{}, map[scriptOnQueue]bool{}
	var last scriptOnQueue
	for _, s := range steps {
		this := scriptOnQueue{s.lua.sha, s.queue}
		if this == last || loaded[this] {
			s.cmd = pipe.EvalSha(ctx, s.lua.sha, s.keys, s.args...)
		} else {
			if announce && !queues[s.queue] {
				queues[s.queue] = true
				pipe.SAdd(ctx, allQueues, s.queue)
			}
			loaded[this] = true
			s.cmd = pipe.Eval(ctx, s.lua.source, s.keys, s.args...)
		}
		last = this
	}
	if _, err := pipe.Exec(ctx); err != nil {
		for _, s := range steps {
			s.err = err
		}
	}
}

const allQueues = "asynq:queues"
