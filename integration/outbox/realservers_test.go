//go:build realservers

package outbox_test

import (
	"database/sql"
	"fmt"
	"testing"

	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/outbox"
)

func TestOnPostgres(t *testing.T) {
	t.Parallel()
	server := servers.Postgres(t, servers.PostgresOptions{})
	runScenarios(t, func(tb testing.TB) *world { return openPostgres(tb, server.Database(tb)) })
}

func TestChaosLedgerOnServers(t *testing.T) {
	t.Parallel()
	postgres, maria := servers.Postgres(t, servers.PostgresOptions{}), servers.MariaDB(t, servers.MariaDBOptions{})
	for _, isOrdered := range []bool{false, true} {
		t.Run(fmt.Sprintf("PostgreSQL, ordered %v", isOrdered), func(t *testing.T) {
			t.Parallel()
			chaosLedger(t, openPostgres(t, postgres.Database(t)), isOrdered)
		})
		t.Run(fmt.Sprintf("MariaDB, ordered %v", isOrdered), func(t *testing.T) {
			t.Parallel()
			chaosLedger(t, openMariaDB(t, maria.Database(t)), isOrdered)
		})
	}
}

func TestOnMariaDB(t *testing.T) {
	t.Parallel()
	server := servers.MariaDB(t, servers.MariaDBOptions{})
	runScenarios(t, func(tb testing.TB) *world { return openMariaDB(tb, server.Database(tb)) })
}

func openPostgres(tb testing.TB, url string) *world {
	tb.Helper()
	return openServer(tb, outbox.Postgres, "pgx", url)
}

func openMariaDB(tb testing.TB, dsn string) *world {
	tb.Helper()
	return openServer(tb, outbox.MySQL, "mysql", dsn)
}

func openServer(tb testing.TB, dialect outbox.Dialect, driver, source string) *world {
	tb.Helper()
	db, err := sql.Open(driver, source)
	must(tb, err)
	tb.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(16) // a new connection for each call takes longer than the call
	db.SetMaxIdleConns(16)
	return &world{dialect, db, driver, source}
}

func TestConformanceOnPostgres(t *testing.T) {
	server := servers.Postgres(t, servers.PostgresOptions{})
	for _, way := range []string{"relayed", "held"} {
		t.Run(way, func(t *testing.T) {
			conformance.Run(t, overPool("outbox-postgres-"+way, "PostgreSQL", way == "held", func(ct conformance.T) *world {
				tb := checkTB{t, ct}
				return openPostgres(tb, server.Database(tb))
			}))
		})
	}
}

func TestThroughPgBouncer(t *testing.T) {
	t.Parallel()
	server := servers.Postgres(t, servers.PostgresOptions{})
	bouncer := servers.PgBouncer(t, server)
	runScenarios(t, func(tb testing.TB) *world { return openPostgres(tb, bouncer.Through(server.Database(tb))) })
}
