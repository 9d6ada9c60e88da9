package workexec

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/gomodule/redigo/redis"
)

// CheckServer asks Redis whether it is fit to keep jobs, and returns nil if it is.
// Call it once when a program starts: [New] asks nothing, and a dispatch does not
// either. It is [core.ErrInvalid] if
//
//   - maxmemory is set and maxmemory-policy is not noeviction. With allkeys-… Redis
//     drops jobs that it has acknowledged when its memory is full. With volatile-… it
//     drops the markers of IDs and the locks of unique keys, which have a time to live;
//   - it is older than 5, whose scripts may not read the clock before they write;
//   - it is a node of a Redis Cluster.
//
// If the server does not report a setting, or this user may not read it, the setting
// passes. Other errors are those of the connection, such as [core.ErrUnavailable], and
// the context's.
//
// It cannot see whether an append-only file is damaged: see the package comment on
// what to do after Redis was killed.
func (e *Executor) CheckServer(ctx context.Context) error {
	switch {
	case e == nil || e.backend.pool == nil:
		return errZeroExecutor
	case ctx == nil:
		return invalid("CheckServer: nil context")
	}
	reply, sent, err := e.backend.use(ctx, func(do doer) (any, error) { return do("INFO") })
	info, err := redis.String(reply, err)
	var re redis.Error
	switch {
	case errors.As(err, &re) && strings.HasPrefix(string(re), "NOPERM"):
		return nil
	case err != nil:
		_, err = outcomeOfError(ctx, sent, err)
		return err
	}
	return checkInfo(info)
}

// checkInfo judges what a server says of itself.
func checkInfo(info string) error {
	settings := map[string]string{}
	for line := range strings.Lines(info) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		settings[key] = value
	}
	if major, err := strconv.Atoi(strings.SplitN(settings["redis_version"], ".", 2)[0]); err == nil && major < 5 {
		return invalid("redis %s is too old, want 5 or newer", settings["redis_version"])
	}
	if settings["cluster_enabled"] == "1" {
		return invalid("redis is a node of a cluster, which gocraft/work does not support")
	}
	limit, policy := settings["maxmemory"], settings["maxmemory_policy"]
	if limit != "" && limit != "0" && policy != "" && policy != "noeviction" {
		return invalid("redis drops keys when its memory is full: maxmemory-policy is %s, want noeviction", policy)
	}
	return nil
}
