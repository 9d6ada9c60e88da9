//go:build realservers

package servers_test

import (
	"database/sql"
	"testing"

	"github.com/goairlock/airlock/integration/servers"
)

func TestMariaDBKeepsWhatItCommittedWhenKilled(t *testing.T) {
	t.Parallel()
	server := servers.MariaDB(t, servers.MariaDBOptions{Private: true})
	db, err := sql.Open("mysql", server.Database(t))
	must(t, err)
	defer db.Close()
	_, err = db.ExecContext(t.Context(), "CREATE TABLE t (n int)")
	must(t, err)
	_, err = db.ExecContext(t.Context(), "INSERT INTO t VALUES (7)")
	must(t, err)
	must(t, server.Kill())
	wantRefused(t, server.Addr())
	must(t, server.Restart())
	var n int
	db.SetMaxIdleConns(0) // the old connections are gone
	must(t, db.QueryRowContext(t.Context(), "SELECT n FROM t").Scan(&n))
	if n != 7 {
		t.Errorf("got %d", n)
	}
	must(t, server.Stop())
	wantRefused(t, server.Addr())
}
