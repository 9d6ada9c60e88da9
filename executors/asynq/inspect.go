package asynqexec

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/inspect"
)

// InspectorOptions tune an [Inspector]. The zero value works.
type InspectorOptions struct {
	// QueueNames are those of the executor's [Options].
	QueueNames map[string]string
}

// Inspector looks at the queues of an asynq and acts on their jobs. It is made by
// [NewInspector] and is an [inspect.Inspector].
//
// A queue and its lanes are one queue here. The states are
//
//	Waiting  pending
//	Delayed  scheduled, retry and aggregating; also parked jobs, see Job.Error
//	Running  active
//	Dead     archived
//	Done     completed, kept for Options.IDWindow
//	Parked   unknown
//
// asynq keeps at most 10 000 dead jobs of a queue or lane, for 90 days. asynq's own
// RunTask leaves the attempts of a job used up. Retry does not.
type Inspector struct {
	rdb   redis.UniversalClient
	names adapter.QueueNames
}

var _ inspect.Inspector = (*Inspector)(nil)

// NewInspector returns an inspector on the caller's client, which it neither dials
// nor closes. Nil opts are the zero [InspectorOptions]. A nil client and bad names of
// queues are [core.ErrInvalid].
func NewInspector(rdb redis.UniversalClient, opts *InspectorOptions) (*Inspector, error) {
	if isNil(rdb) {
		return nil, invalid("nil redis client")
	}
	if opts == nil {
		opts = &InspectorOptions{}
	}
	names, err := newQueueNames(opts.QueueNames)
	if err != nil {
		return nil, err
	}
	return &Inspector{rdb, names}, nil
}

// Queues returns the queues that asynq knows. A queue is known from the first job on.
func (i *Inspector) Queues(ctx context.Context) ([]string, error) {
	if err := i.check(ctx); err != nil {
		return nil, err
	}
	native, err := i.rdb.SMembers(ctx, "asynq:queues").Result()
	if err != nil {
		return nil, i.failed(ctx, err)
	}
	queues := make([]string, 0, len(native))
	for _, queue := range native {
		queues = append(queues, queueOf(i.names, queue))
	}
	slices.Sort(queues)
	return slices.Compact(queues), nil
}

// Depth counts the jobs of a queue and its lanes.
func (i *Inspector) Depth(ctx context.Context, queue string) (inspect.Depth, error) {
	lanes, err := i.lanes(ctx, queue)
	if err != nil {
		return inspect.Depth{}, err
	}
	total := inspect.Depth{Queue: queueOf(i.names, lanes[0]), Oldest: inspect.AgeOf(0), Paused: true}
	var sum [4]int64
	for _, lane := range lanes {
		if err := i.addDepth(ctx, lane, &total, &sum); err != nil {
			return inspect.Depth{}, i.failed(ctx, err)
		}
	}
	total.Waiting, total.Delayed = inspect.CountOf(sum[0]), inspect.CountOf(sum[1])
	total.Running, total.Dead = inspect.CountOf(sum[2]), inspect.CountOf(sum[3])
	return total, nil
}

// addDepth adds one lane. The queue is paused if every lane is.
func (i *Inspector) addDepth(ctx context.Context, lane string, total *inspect.Depth, sum *[4]int64) error {
	groups, err := i.groups(ctx, lane)
	if err != nil {
		return err
	}
	pipe := i.rdb.Pipeline()
	waiting, running := pipe.LLen(ctx, queueKey(lane, "pending")), pipe.LLen(ctx, queueKey(lane, "active"))
	dead, paused := pipe.ZCard(ctx, queueKey(lane, "archived")), pipe.Exists(ctx, queueKey(lane, "paused"))
	var delayed []*redis.IntCmd
	for _, set := range append(groups, queueKey(lane, "scheduled"), queueKey(lane, "retry")) {
		delayed = append(delayed, pipe.ZCard(ctx, set))
	}
	oldest := pipe.LIndex(ctx, queueKey(lane, "pending"), -1)
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return err
	}
	sum[0], sum[2], sum[3] = sum[0]+waiting.Val(), sum[2]+running.Val(), sum[3]+dead.Val()
	for _, n := range delayed {
		sum[1] += n.Val()
	}
	total.Paused = total.Paused && paused.Val() == 1
	if oldest.Val() == "" {
		return nil
	}
	since, err := i.rdb.HGet(ctx, taskKey(lane, oldest.Val()), "pending_since").Int64()
	sofar, known := total.Oldest.Known()
	switch {
	case err != nil && !errors.Is(err, redis.Nil) && !errors.Is(err, strconv.ErrSyntax):
		return err
	case err != nil || since <= 0: // asynq's RunTask notes no time
		total.Oldest = inspect.Age{}
	case known:
		total.Oldest = inspect.AgeOf(max(sofar, time.Since(time.Unix(0, since))))
	}
	return nil
}

// Get returns a job, in whichever lane it is.
func (i *Inspector) Get(ctx context.Context, queue, id string) (inspect.Job, error) {
	t, err := i.find(ctx, queue, id)
	if err != nil {
		return inspect.Job{}, err
	}
	job := i.jobOf(t)
	if set := map[string]string{"scheduled": "scheduled", "retry": "retry"}[t.state]; set != "" {
		if due, err := i.rdb.ZScore(ctx, queueKey(t.lane, set), id).Result(); err == nil {
			job.Due = time.Unix(int64(due), 0)
		}
	}
	return job, nil
}

// find returns the stored task of a job.
func (i *Inspector) find(ctx context.Context, queue, id string) (storedTask, error) {
	lanes, err := i.lanes(ctx, queue)
	if err != nil {
		return storedTask{}, err
	}
	for _, lane := range lanes {
		cmd := i.rdb.HMGet(ctx, taskKey(lane, id), taskFields...)
		if err := cmd.Err(); err != nil && !isReply(err) {
			return storedTask{}, i.failed(ctx, err)
		}
		if t, ok := newStoredTask(lane, id, cmd); ok {
			return t, nil
		}
	}
	return storedTask{}, fmt.Errorf("airlock: asynq: job %q in queue %q: %w", id, queue, inspect.ErrNotFound)
}

// lanes returns the native names of a queue that asynq knows and of its lanes.
func (i *Inspector) lanes(ctx context.Context, queue string) ([]string, error) {
	if err := i.check(ctx); err != nil {
		return nil, err
	}
	if err := i.names.Check(queue); err != nil {
		return nil, err
	}
	native := i.names.Native(queue)
	if err := possibleQueue(native); err != nil {
		return nil, invalid("queue %q: %v", queue, err)
	}
	all := []string{native, native + highLane, native + lowLane}
	pipe := i.rdb.Pipeline()
	known := make([]*redis.BoolCmd, len(all))
	for n, lane := range all {
		known[n] = pipe.SIsMember(ctx, "asynq:queues", lane)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, i.failed(ctx, err)
	}
	var lanes []string
	for n, lane := range all {
		if known[n].Val() {
			lanes = append(lanes, lane)
		}
	}
	if len(lanes) == 0 {
		return nil, fmt.Errorf("airlock: asynq: queue %q: %w", native, inspect.ErrNotFound)
	}
	return lanes, nil
}

func (i *Inspector) check(ctx context.Context) error {
	switch {
	case i == nil || i.rdb == nil:
		return invalid("zero Inspector: inspectors are made by NewInspector")
	case ctx == nil:
		return invalid("nil context")
	case ctx.Err() != nil:
		return core.ContextError(ctx)
	}
	return nil
}

// isReply reports whether Redis itself has answered with an error or with nothing.
func isReply(err error) bool {
	var answer redis.Error
	return errors.As(err, &answer)
}

// failed returns an error of Redis with what the caller can act on.
func (i *Inspector) failed(ctx context.Context, err error) error {
	closeCondemned(ctx, i.rdb, err)
	switch {
	case errors.Is(err, core.ErrInvalid):
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("airlock: asynq: %w: %w", core.ContextError(ctx), &backendError{err})
	case noConnection(err):
		return fmt.Errorf("%w: %w", &backendError{err}, core.ErrUnavailable)
	}
	return &backendError{err}
}

// inspector is asynq's own.
func (i *Inspector) inspector() *asynq.Inspector { return asynq.NewInspectorFromRedisClient(i.rdb) }
