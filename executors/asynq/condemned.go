package asynqexec

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/adapter"
)

// closeCondemned has Redis close a connection if err is an answer after which the server
// refuses everything on it, such as MASTERDOWN or NOAUTH. A new connection may reach a
// server that was promoted. go-redis v9.14.1 closes the connection itself for READONLY
// alone, and keeps using it otherwise.
//
// The client gives out the connection that was returned last, which is the one of the
// answer unless others use the client. All of its connections lead to the same server,
// so with the next answers the others follow. A cluster client finds the new master
// itself.
func closeCondemned(ctx context.Context, rdb redis.UniversalClient, err error) {
	client, ok := rdb.(*redis.Client)
	if !ok || err == nil {
		return
	}
	var answer redis.Error
	if !errors.As(err, &answer) || !adapter.RedisCondemns(answer.Error()) || redis.HasErrorPrefix(answer, "READONLY") {
		return
	}
	pipe := client.Pipeline()
	pipe.Do(ctx, "QUIT")
	pipe.Ping(ctx)        // has no answer, so that go-redis drops the connection
	_, _ = pipe.Exec(ctx) // an error is what is wanted
}
