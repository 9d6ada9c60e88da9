package celeryexec

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// The keys of kombu 5.2, transport/redis.py. All have global_keyprefix before them.
const (
	unackedKey      = "unacked"         // a hash: field, in kombu the delivery tag, to [message, exchange, routing key]
	unackedIndexKey = "unacked_index"   // a sorted set: field by the time when it was taken
	unackedMutexKey = "unacked_mutex"   // a lock of those who give jobs to other workers
	bindingPrefix   = "_kombu.binding." // and an exchange: a set of "routing key, pattern, queue"
)

// ownPrefix is before the keys that only our workers use.
const ownPrefix = "airlock."

// broker is Redis as kombu uses it.
type broker struct {
	rdb        redis.UniversalClient
	prefix     string
	visibility time.Duration
}

func newBroker(rdb redis.UniversalClient, opts RedisOptions) (*broker, error) {
	b := &broker{rdb: rdb}
	switch c := rdb.(type) {
	case nil:
		return nil, invalid("nil redis client")
	case *redis.Client:
		if c == nil {
			return nil, invalid("nil redis client")
		}
	case *redis.ClusterClient, *redis.Ring:
		return nil, invalid("%T: kombu keeps its keys on one Redis", rdb)
	}
	opts, err := opts.checked()
	if err != nil {
		return nil, err
	}
	b.prefix, b.visibility = opts.KeyPrefix, opts.VisibilityTimeout
	return b, nil
}

func (b *broker) key(name string) string { return b.prefix + name }

// run runs a script, whose source goes along if Redis does not know it.
func (b *broker) run(ctx context.Context, script *redis.Script, keys []string, args ...any) *redis.Cmd {
	return script.Run(ctx, b.rdb, keys, args...)
}

// score is a time as kombu stores it: seconds, of the writer's clock.
func score(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }
