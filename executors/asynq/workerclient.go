package asynqexec

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/worker"
)

// The waits between two tries while Redis is away.
const (
	firstPause = 50 * time.Millisecond
	maxPause   = 2 * time.Second
)

// workerClient is the caller's client as a Worker's server sees it. It repeats
// what records the end of a run, waits before it fetches again from a Redis that is
// away, logs that once, and puts messages away that cannot be decoded.
//
// It is not a client of its own with more retries: that would lose the hooks of the
// caller's, and repeat fetches too, each of which may already have taken a job.
type workerClient struct {
	redis.UniversalClient
	retries bool // the client may send a command twice
	reg     *worker.Registry
	names   adapter.QueueNames
	logger  *slog.Logger
	cancels *cancellations
	recent  *recentIDs

	stopFetching func()          // ends pauses between fetches
	fetching     <-chan struct{} // closed by stopFetching
	giveUp       func()          // ends the repetition of records
	recording    <-chan struct{} // closed by giveUp

	mu    sync.Mutex
	away  bool          // guarded by mu
	pause time.Duration // guarded by mu; before the next fetch
}

func newWorkerClient(rdb redis.UniversalClient, reg *worker.Registry, s *settings) *workerClient {
	fetching, recording := make(chan struct{}), make(chan struct{})
	return &workerClient{
		UniversalClient: rdb, retries: mayRetry(rdb), reg: reg, names: s.names, logger: s.logger, cancels: s.cancels, recent: s.recent,
		fetching: fetching, stopFetching: sync.OnceFunc(func() { close(fetching) }),
		recording: recording, giveUp: sync.OnceFunc(func() { close(recording) }),
	}
}

// EvalSha runs one of asynq's scripts.
func (c *workerClient) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	return c.script(scriptCall{redis.UniversalClient.EvalSha, c.UniversalClient, ctx, sha, keys, args})
}

// Eval runs one of asynq's scripts that Redis does not know yet.
func (c *workerClient) Eval(ctx context.Context, source string, keys []string, args ...any) *redis.Cmd {
	return c.script(scriptCall{redis.UniversalClient.Eval, c.UniversalClient, ctx, source, keys, args})
}

// ZAdd and ZAddXX are asynq's heartbeat.
func (c *workerClient) ZAdd(ctx context.Context, key string, members ...redis.Z) *redis.IntCmd {
	return housekeep(c, newInt, func() *redis.IntCmd { return c.UniversalClient.ZAdd(ctx, key, members...) })
}

// ZAddXX extends leases.
func (c *workerClient) ZAddXX(ctx context.Context, key string, members ...redis.Z) *redis.IntCmd {
	return housekeep(c, newInt, func() *redis.IntCmd { return c.UniversalClient.ZAddXX(ctx, key, members...) })
}

// ZRem takes the heartbeat back.
func (c *workerClient) ZRem(ctx context.Context, key string, members ...any) *redis.IntCmd {
	return housekeep(c, newInt, func() *redis.IntCmd { return c.UniversalClient.ZRem(ctx, key, members...) })
}

// SMembers lists groups.
func (c *workerClient) SMembers(ctx context.Context, key string) *redis.StringSliceCmd {
	return housekeep(c, newStrings, func() *redis.StringSliceCmd { return c.UniversalClient.SMembers(ctx, key) })
}

// Ping is asynq's health check.
func (c *workerClient) Ping(ctx context.Context) *redis.StatusCmd {
	return housekeep(c, newStatus, func() *redis.StatusCmd { return c.UniversalClient.Ping(ctx) })
}

// Subscribe fails, each 5 seconds until the worker stops: cancellations listens in
// place of asynq's subscriber. That one would also keep a worker from stopping while
// Redis is silent, since a go-redis subscription that connects again cannot be closed.
func (c *workerClient) Subscribe(ctx context.Context, channels ...string) *redis.PubSub {
	closed := redis.NewClient(&redis.Options{})
	_ = closed.Close()
	return closed.Subscribe(ctx, channels...)
}

// errGivenUp is the error of a call that a worker makes, or waits for, after it has
// stopped and Redis has not answered in time.
var errGivenUp = errors.New("airlock: asynq: the worker has stopped, and redis does not answer")

// Commands that were not sent.
func newCmd(err error) *redis.Cmd                { return redis.NewCmdResult(nil, err) }
func newInt(err error) *redis.IntCmd             { return redis.NewIntResult(0, err) }
func newStatus(err error) *redis.StatusCmd       { return redis.NewStatusResult("", err) }
func newStrings(err error) *redis.StringSliceCmd { return redis.NewStringSliceResult(nil, err) }

// housekeep sends a command that concerns no single job. asynq gives it no context that
// ends, so the worker would have to wait for it when it stops.
func housekeep[C redis.Cmder](c *workerClient, failed func(error) C, send func() C) C {
	if c.hasGivenUp() {
		return failed(errGivenUp)
	}
	answer := make(chan C, 1)
	go func() { answer <- send() }()
	select {
	case cmd := <-answer:
		c.noteConnection(cmd.Err())
		return cmd
	case <-c.recording:
		return failed(errGivenUp)
	}
}

func (c *workerClient) hasGivenUp() bool {
	select {
	case <-c.recording:
		return true
	default:
		return false
	}
}

// noteConnection notes a lost connection. Whether Redis serves the worker again is
// for the next fetch or record to say: other commands may be allowed or refused on
// their own.
func (c *workerClient) noteConnection(err error) {
	switch {
	case isOutage(err) && !isAnswer(err):
		c.note(err)
	default:
		closeCondemned(context.Background(), c.UniversalClient, err)
	}
}

// note logs when Redis is lost and when it is back.
func (c *workerClient) note(err error) {
	closeCondemned(context.Background(), c.UniversalClient, err)
	away := isOutage(err)
	c.mu.Lock()
	changed := away != c.away
	c.away = away
	if !away {
		c.pause = 0
	}
	c.mu.Unlock()
	switch {
	case !changed:
	case away:
		adapter.LogLost(c.logger, name, slog.String("error", adapter.RedisErrorText(err)))
	default:
		adapter.LogBack(c.logger, name)
	}
}

func (c *workerClient) isAway() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.away
}

// isOutage reports whether an error says that Redis does not do its work now: no
// connection, no answer, or a refusal of every command.
func isOutage(err error) bool {
	if err == nil || errors.Is(err, redis.Nil) {
		return false
	}
	if isAnswer(err) {
		return isRefusal(err) && !redis.HasErrorPrefix(err, "NOSCRIPT")
	}
	return true
}

func isAnswer(err error) bool {
	var answer redis.Error
	return errors.As(err, &answer)
}
