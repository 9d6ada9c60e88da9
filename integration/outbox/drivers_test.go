//go:build realservers

package outbox_test

import (
	"testing"

	_ "github.com/lib/pq" // the driver postgres

	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/outbox"
)

// TestWithLibPQ is TestOnPostgres with another driver.
func TestWithLibPQ(t *testing.T) {
	t.Parallel()
	server := servers.Postgres(t, servers.PostgresOptions{})
	runScenarios(t, func(tb testing.TB) *world { return openServer(tb, outbox.Postgres, "postgres", server.Database(tb)) })
}
