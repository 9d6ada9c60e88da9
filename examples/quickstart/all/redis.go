package main

import (
	"fmt"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// openRedis returns the URL that was given with -redis, or that of an embedded server.
func openRedis(url string, undo *cleanup) (string, error) {
	if url != "" {
		_, err := parseRedis("redis", url)
		return url, err
	}
	embedded := miniredis.NewMiniRedis()
	if err := embedded.Start(); err != nil {
		return "", err
	}
	undo.add(func() error { embedded.Close(); return nil })
	return "redis://" + embedded.Addr(), nil
}

// parseRedis parses the URL of a flag. The client's error may quote a part of a password
// that is not escaped, so it is left out.
func parseRedis(flag, url string) (*redis.Options, error) {
	opts, err := redis.ParseURL(url)
	if err != nil {
		return nil, fmt.Errorf("-%s: want redis://user:password@host:port/db, where a password has %%2F for /, and so on", flag)
	}
	return opts, nil
}
