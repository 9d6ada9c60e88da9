package asynqexec

import (
	"context"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// CheckServer asks Redis, on a cluster every master, whether it is fit to keep
// jobs, and returns nil if it is. Call it once when a program starts: [New] asks
// nothing, and a dispatch does not either. It is [core.ErrInvalid] if
//
//   - maxmemory is set and maxmemory-policy is one of allkeys-…: Redis then drops
//     jobs that it has acknowledged when its memory is full. With noeviction it
//     refuses new ones, and with volatile-… it drops what has a time to live, which
//     no job has;
//   - it is older than 6.2, whose commands asynq's scripts and ours need.
//
// A server that does not say passes, also one whose user may not ask (NOPERM).
// Other errors are those of the connection, [core.ErrUnavailable] among them, and
// the context's. What cannot be checked is in the package comment, under Delivery.
func (e *Executor) CheckServer(ctx context.Context) error {
	if e == nil || e.guarded == nil {
		return errZeroExecutor
	}
	if ctx == nil {
		return invalid("CheckServer: nil context")
	}
	var found, panicked error
	var once sync.Once
	end := make(chan struct{})
	go func() {
		defer close(end)
		defer contain(&panicked)
		if cluster, ok := e.rdb.(*redis.ClusterClient); ok {
			var problem error // of a node; another error is that of finding the nodes
			err := cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
				err := e.checkNode(ctx, node)
				if err != nil {
					once.Do(func() { problem = err })
				}
				return err
			})
			switch {
			case problem != nil:
				found = problem
			case err != nil:
				_, found = e.failureOf(ctx, reply{err: err})
			}
		} else {
			found = e.checkNode(ctx, e.rdb)
		}
	}()
	if err := wait(ctx, end); err != nil {
		return err
	}
	if panicked != nil {
		return panicked
	}
	return found
}

// checkNode looks at one server.
func (e *Executor) checkNode(ctx context.Context, node redis.Cmdable) error {
	info, err := node.Info(ctx).Result()
	if redis.HasErrorPrefix(err, "NOPERM") {
		return nil // INFO is one of the commands of @dangerous
	}
	if err != nil {
		closeCondemned(ctx, e.rdb, err)
		_, err = e.failureOf(ctx, reply{err: err})
		return err
	}
	settings := map[string]string{}
	for line := range strings.Lines(info) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		settings[key] = value
	}
	if version := settings["redis_version"]; olderThan(version, 6, 2) {
		return invalid("redis %s is too old, want 6.2 or newer", version)
	}
	limit, policy := settings["maxmemory"], settings["maxmemory_policy"]
	if strings.HasPrefix(policy, "allkeys-") && limit != "" && limit != "0" {
		return invalid("redis drops jobs when its memory is full: maxmemory-policy is %s, want noeviction", policy)
	}
	return nil
}

// olderThan compares the first two numbers of a version. A version without numbers
// is not older.
func olderThan(version string, major, minor int) bool {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return false
	}
	a, errA := strconv.Atoi(parts[0])
	b, errB := strconv.Atoi(parts[1])
	return errA == nil && errB == nil && (a < major || a == major && b < minor)
}
