package main

import (
	"flag"
	"sync/atomic"

	"github.com/alicebob/miniredis/v2"
)

// redisURL is what -redis was given, nil without it.
var redisURL atomic.Pointer[string]

func redisFlag(f *flag.FlagSet) {
	f.Func("redis", "for asynq and work: redis://[user:password@]host:port/db (default: an embedded server)", func(url string) error {
		redisURL.Store(&url)
		return nil
	})
}

// openRedis returns the URL that was given, or that of an embedded server, and
// what ends it.
func openRedis() (url string, end func() error, err error) {
	if given := redisURL.Load(); given != nil && *given != "" {
		return *given, func() error { return nil }, nil
	}
	embedded := miniredis.NewMiniRedis()
	if err := embedded.Start(); err != nil {
		return "", nil, err
	}
	return "redis://" + embedded.Addr(), func() error { embedded.Close(); return nil }, nil
}
