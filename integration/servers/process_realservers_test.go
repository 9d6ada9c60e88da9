//go:build realservers && linux

package servers_test

import (
	"testing"

	"github.com/goairlock/airlock/integration/servers"
)

func init() {
	mortals["redis"] = func(t *testing.T) string {
		return servers.Redis(t, servers.RedisOptions{Private: true}).Addr()
	}
	mortals["postgres"] = func(t *testing.T) string {
		return servers.Postgres(t, servers.PostgresOptions{Private: true}).Addr()
	}
	mortals["rabbitmq"] = func(t *testing.T) string { return servers.RabbitMQ(t, servers.RabbitMQOptions{}).Addr() }
}
