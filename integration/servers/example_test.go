package servers_test

import (
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/integration/servers"
)

// A test of what survives a crash.
func ExampleRedis() {
	_ = func(t *testing.T) {
		server := servers.Redis(t, servers.RedisOptions{Durable: true})
		client := redis.NewClient(&redis.Options{Addr: server.Addr()})
		defer client.Close()
		if err := client.Set(t.Context(), "key", "value", 0).Err(); err != nil {
			t.Fatal(err)
		}
		if err := server.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := server.Restart(); err != nil {
			t.Fatal(err)
		}
		if value, err := client.Get(t.Context(), "key").Result(); value != "value" {
			t.Errorf("got %q, %v", value, err)
		}
	}
}

// One PostgreSQL server, a database for each test.
func ExamplePostgresServer_Database() {
	_ = func(t *testing.T) {
		server := servers.Postgres(t, servers.PostgresOptions{})
		for _, name := range []string{"insert", "update"} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				url := server.Database(t)
				t.Log("connect to", url)
			})
		}
	}
}

// A server that can be killed for real, with nothing but Go.
func ExampleNATS() {
	_ = func(t *testing.T) {
		server := servers.NATS(t, servers.NATSOptions{OwnProcess: true})
		conn, err := nats.Connect(server.URL())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
}
