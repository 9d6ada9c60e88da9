package celeryexec

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/core"
)

// CheckServer asks the broker whether it is fit to keep the jobs of these queues, which
// have their portable names, and returns nil if it is. Call it once when a program
// starts: [New] and [NewAMQP] ask nothing, and a dispatch does not either. On Redis it
// is [core.ErrInvalid] if
//
//   - maxmemory is set and maxmemory-policy is one of allkeys-…: Redis then drops jobs
//     that it has acknowledged when its memory is full;
//   - a key of the queues or of kombu is of another type, as in a Redis that is not
//     Celery's broker;
//   - no Celery worker has ever consumed a queue here. Then the workers use another
//     database, another key prefix or another queue, or were never started.
//
// On RabbitMQ it is [core.ErrInvalid] if a queue does not exist in the virtual host: no
// Celery worker has consumed it here. With Options.Priorities it is also if the queue
// was declared without x-max-priority, or with another number than 10.
//
// A server that does not say passes, also one whose user may not ask (NOPERM,
// ACCESS_REFUSED). Other errors are those of the connection, [core.ErrUnavailable]
// among them, and the context's. The visibility timeout is in the workers' own
// configuration, and consumer_timeout in the server's.
func (e *Executor) CheckServer(ctx context.Context, queues ...string) error {
	if e == nil || e.guarded == nil {
		return errZeroExecutor
	}
	if ctx == nil {
		return invalid("CheckServer: nil context")
	}
	var problems []error
	for _, queue := range queues {
		if err := e.names.check(queue); err != nil {
			problems = append(problems, err)
		}
	}
	if len(problems) > 0 {
		return errors.Join(problems...)
	}
	ended := make(chan error, 1)
	check := e.checkServer
	if e.publisher != nil {
		check = e.checkRabbitMQ
	}
	go func() { ended <- check(ctx, queues) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return core.ContextError(ctx)
	}
}

func (e *Executor) checkServer(ctx context.Context, queues []string) error {
	info, err := e.broker.rdb.Info(ctx).Result()
	if err != nil && !redis.HasErrorPrefix(err, "NOPERM") {
		_, err = outcomeOf(ctx, err, false)
		return err
	}
	settings := map[string]string{}
	for line := range strings.Lines(info) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		settings[key] = value
	}
	var found []error
	limit, policy := settings["maxmemory"], settings["maxmemory_policy"]
	if strings.HasPrefix(policy, "allkeys-") && limit != "" && limit != "0" {
		found = append(found, invalid("redis drops jobs when its memory is full: maxmemory-policy is %s, want noeviction", policy))
	}
	types := map[string]string{unackedKey: "hash", unackedIndexKey: "zset"}
	for _, queue := range queues {
		native := e.names.Native(queue)
		types[DeadQueue(native)] = "list"
		for _, priority := range priorities {
			types[listOf(native, priority)] = "list"
		}
	}
	for key, want := range types {
		switch got, err := e.broker.rdb.Type(ctx, e.broker.key(key)).Result(); {
		case redis.HasErrorPrefix(err, "NOPERM"):
		case err != nil:
			_, err = outcomeOf(ctx, err, false)
			return errors.Join(append(found, err)...)
		case got != "none" && got != want:
			found = append(found, invalid("the key %q is a %s, want a %s: is this Celery's broker?", e.broker.key(key), got, want))
		}
	}
	for _, queue := range queues {
		if err := e.checkConsumed(ctx, e.names.Native(queue)); err != nil {
			found = append(found, err)
		}
	}
	return errors.Join(found...)
}

// checkConsumed looks for the binding that a Celery worker stores when it begins to
// consume a queue. By default a queue has an exchange of its own name.
func (e *Executor) checkConsumed(ctx context.Context, native string) error {
	rdb := e.broker.rdb
	var cursor uint64
	for {
		keys, next, err := rdb.Scan(ctx, cursor, globOf(e.broker.key(bindingPrefix))+"*", 1000).Result()
		if redis.HasErrorPrefix(err, "NOPERM") {
			return nil
		}
		if err != nil {
			_, err = outcomeOf(ctx, err, false)
			return err
		}
		for _, key := range keys {
			bindings, err := rdb.SMembers(ctx, key).Result()
			if err != nil {
				_, err = outcomeOf(ctx, err, false)
				return err
			}
			for _, binding := range bindings {
				if strings.HasSuffix(binding, separator+native) {
					return nil
				}
			}
		}
		if cursor = next; cursor == 0 {
			return invalid("no Celery worker has consumed the queue %q on this database with the key prefix %q", native, e.broker.prefix)
		}
	}
}

// globOf escapes what SCAN would take for a pattern.
func globOf(s string) string {
	var b strings.Builder
	for _, r := range s {
		if strings.ContainsRune(`*?[]\^-`, r) {
			b.WriteByte('\\')
		}
		fmt.Fprintf(&b, "%c", r)
	}
	return b.String()
}
