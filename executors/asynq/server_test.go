package asynqexec

import (
	"context"
	"errors"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/core"
)

// serverError is an error reply.
type serverError string

func (e serverError) Error() string { return string(e) }
func (serverError) RedisError()     {}

// infoRedis answers INFO.
type infoRedis struct {
	redis.UniversalClient
	info string
	err  error
}

func (r *infoRedis) Info(context.Context, ...string) *redis.StringCmd {
	return redis.NewStringResult(r.info, r.err)
}

func TestAServerThatLosesJobsOrIsTooOldIsReported(t *testing.T) {
	t.Parallel()
	for info, want := range map[string]error{
		"":                           nil, // it says nothing
		"redis_version:7.0.15\r\n":   nil,
		"redis_version:6.2.0\r\n":    nil,
		"redis_version:10.0.0\r\n":   nil,
		"redis_version:unstable\r\n": nil,
		"redis_version:6.0.16\r\n":   core.ErrInvalid,
		"redis_version:5.2.0\r\n":    core.ErrInvalid,
		"maxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n":                            nil,
		"maxmemory:1000\r\nmaxmemory_policy:noeviction\r\n":                          nil,
		"maxmemory:1000\r\nmaxmemory_policy:volatile-lru\r\n":                        nil,
		"# Memory\r\nmaxmemory:1000\r\nmaxmemory_policy:allkeys-lru\r\n# Server\r\n": core.ErrInvalid,
		"maxmemory:1000\r\nmaxmemory_policy:allkeys-random\r\n":                      core.ErrInvalid,
	} {
		e, err := New(&infoRedis{info: info}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.CheckServer(t.Context()); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", info, err, want)
		}
	}
	broken := errors.New("broken")
	e, err := New(&infoRedis{err: broken}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.CheckServer(t.Context()); !errors.Is(err, broken) {
		t.Errorf("%v, want the connection's own error", err)
	}
}

func TestAUserWhoMayNotAskPasses(t *testing.T) {
	t.Parallel()
	e, err := New(&infoRedis{err: serverError("NOPERM this user has no permissions to run the 'info' command")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.CheckServer(t.Context()); err != nil {
		t.Error(err)
	}
}
