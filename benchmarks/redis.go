package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/internal/loopback"
)

// startPatience bounds the start of a server.
const startPatience = 30 * time.Second

// redisOptions are those of the Redis of AIRLOCK_REDIS_URL, or of one that is
// started here, keeps its data in memory alone and is gone after end.
func redisOptions(ctx context.Context) (opts *redis.Options, end func(), err error) {
	if url := os.Getenv("AIRLOCK_REDIS_URL"); url != "" {
		opts, err = redis.ParseURL(url)
		return opts, func() {}, err
	}
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, nil, fmt.Errorf("AIRLOCK_REDIS_URL is not set, and redis-server is not on PATH: %w", errNoServer)
	}
	port, err := loopback.Reserve()
	if err != nil {
		return nil, nil, err
	}
	server := exec.Command(path, "--bind", "127.0.0.1", "--port", strconv.Itoa(port.Number()), "--save", "", "--appendonly", "no", "--dir", os.TempDir())
	if err := server.Start(); err != nil {
		port.Release()
		return nil, nil, err
	}
	end = func() {
		_ = server.Process.Kill() // it has nothing to keep
		_ = server.Wait()         // killed, as was asked
		port.Release()
	}
	opts = &redis.Options{Addr: port.Addr()}
	if err := ready(ctx, opts); err != nil {
		end()
		return nil, nil, fmt.Errorf("start redis-server: %w", err)
	}
	return opts, end, nil
}

// ready waits until a Redis answers.
func ready(ctx context.Context, opts *redis.Options) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	rdb := redis.NewClient(opts)
	defer rdb.Close()
	for {
		err := rdb.Ping(ctx).Err()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(5 * time.Millisecond):
		}
	}
}
