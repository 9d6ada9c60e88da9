package workexec

import (
	"errors"
	"testing"

	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/core"
)

func TestAServerThatLosesJobsIsReported(t *testing.T) {
	t.Parallel()
	for info, want := range map[string]error{
		"":                                   nil, // it shows nothing
		"redis_version:7.0.15\r\n":           nil,
		"redis_version:5.0.0\r\n":            nil,
		"redis_version:10.0.0\r\n":           nil,
		"redis_version:unstable\r\n":         nil,
		"redis_version:4.0.14\r\n":           core.ErrInvalid,
		"cluster_enabled:0\r\n":              nil,
		"# Cluster\r\ncluster_enabled:1\r\n": core.ErrInvalid,
		"maxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n":     nil,
		"maxmemory:1000\r\nmaxmemory_policy:noeviction\r\n":   nil,
		"maxmemory:1000\r\n":                                  nil,
		"maxmemory:1000\r\nmaxmemory_policy:volatile-lru\r\n": core.ErrInvalid,
		"maxmemory:1000\r\nmaxmemory_policy:allkeys-lru\r\n":  core.ErrInvalid,
	} {
		if err := checkInfo(info); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", info, err, want)
		}
	}
}

func TestAnAnswerThatCondemnsIsFound(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		reply any
		err   error
		want  bool
	}{
		{nil, redis.Error("READONLY You can't write against a read only replica."), true},
		{nil, redis.Error("LOADING Redis is loading the dataset in memory"), true},
		{nil, redis.Error("OOM command not allowed"), false},
		{nil, errors.New("READONLY, but not from Redis"), false},
		{[]any{int64(1), []byte("READONLY You can't write against a read only replica. script: abc")}, nil, true},
		{[]any{int64(1), []byte("WRONGTYPE Operation")}, nil, false},
		{[]any{}, nil, false},
		{[]byte("READONLY"), nil, false},
	} {
		if got := condemns(tc.reply, tc.err); got != tc.want {
			t.Errorf("%v, %v: %v", tc.reply, tc.err, got)
		}
	}
}
