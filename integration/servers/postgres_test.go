//go:build realservers

package servers_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/goairlock/airlock/integration/servers"
)

func TestPostgres(t *testing.T) {
	t.Parallel()
	server := servers.Postgres(t, servers.PostgresOptions{Private: true})

	t.Run("databases are apart", func(t *testing.T) {
		one, two := server.Database(t), server.Database(t)
		execute(t, one, "CREATE TABLE t (n int)")
		execute(t, two, "CREATE TABLE t (n int)")
		execute(t, one, "INSERT INTO t VALUES (1)")
		if n := count(t, one); n != 1 {
			t.Errorf("the first holds %d rows, want 1", n)
		}
		if n := count(t, two); n != 0 {
			t.Errorf("the second holds %d rows, want 0", n)
		}
	})

	t.Run("keeps what it committed", func(t *testing.T) {
		database := server.Database(t)
		execute(t, database, "CREATE TABLE t (n int)")
		open := connect(t, database) // a backend that must go with its server
		for range 20 {
			_, err := open.Exec(t.Context(), "INSERT INTO t VALUES (1)")
			must(t, err)
		}
		must(t, server.Kill())
		wantRefused(t, server.Addr())
		if err := open.Ping(t.Context()); err == nil {
			t.Error("a backend outlives its server")
		}
		must(t, server.Restart())
		if n := count(t, database); n != 20 {
			t.Errorf("after kill and restart %d rows, want 20", n)
		}
	})
}

func TestPostgresLifeCycle(t *testing.T) {
	dir := inOwnFolder(t)
	server := servers.Postgres(t, servers.PostgresOptions{Private: true})
	open := connect(t, server.URL()) // a client that stays must not keep the server from stopping
	must(t, open.Ping(t.Context()))
	wantLifeCycle(t, server)
	wantEmpty(t, dir)
}

func TestPostgresFromTheEnvironment(t *testing.T) {
	private := servers.Postgres(t, servers.PostgresOptions{Private: true})
	t.Setenv("AIRLOCK_POSTGRES_URL", private.URL())
	databases := func() (n int) {
		must(t, connect(t, private.URL()).QueryRow(t.Context(), "SELECT count(*) FROM pg_database").Scan(&n))
		return n
	}
	before := databases()
	t.Run("use", func(t *testing.T) {
		external := servers.Postgres(t, servers.PostgresOptions{})
		if external.URL() != private.URL() || external.Addr() != private.Addr() {
			t.Errorf("got %s at %s, want %s at %s", external.URL(), external.Addr(), private.URL(), private.Addr())
		}
		wantExternal(t, external)
		must(t, connect(t, external.Database(t)).Ping(t.Context()))
		if n := databases(); n != before+1 {
			t.Errorf("%d databases, want %d", n, before+1)
		}
	})
	if n := databases(); n != before {
		t.Errorf("%d databases afterwards, want %d", n, before)
	}
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func execute(t *testing.T, url, statement string) {
	t.Helper()
	_, err := connect(t, url).Exec(t.Context(), statement)
	must(t, err)
}

func count(t *testing.T, url string) (n int) {
	t.Helper()
	must(t, connect(t, url).QueryRow(t.Context(), "SELECT count(*) FROM t").Scan(&n))
	return n
}
