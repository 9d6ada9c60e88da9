//go:build realservers

package transactions_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver pgx

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/airlocksql"
	"github.com/goairlock/airlock/airlocktest"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/outbox"
)

func TestWhatPostgresAnswersToCommit(t *testing.T) {
	t.Parallel()
	server := servers.Postgres(t, servers.PostgresOptions{})
	serializable := &sql.TxOptions{Isolation: sql.LevelSerializable}
	for _, tc := range []struct {
		name  string
		opts  *sql.TxOptions
		do    func(t *testing.T, db *sql.DB, tx *sql.Tx)
		state string // of the server's error; "" if there is none
		open  bool   // nobody knows
	}{
		{"serialization failure", serializable, func(t *testing.T, db *sql.DB, tx *sql.Tx) {
			// Each transaction reads what the other one writes.
			other, err := db.BeginTx(t.Context(), serializable)
			must(t, err)
			for _, tx := range []*sql.Tx{tx, other} {
				var n int
				must(t, tx.QueryRow("SELECT count(*) FROM orders").Scan(&n))
				exec(t, tx, "INSERT INTO orders VALUES ('A')")
			}
			must(t, other.Commit())
		}, "40001", false},
		{"deferred foreign key", nil, func(t *testing.T, _ *sql.DB, tx *sql.Tx) {
			exec(t, tx, "INSERT INTO children VALUES ('nobody')")
		}, "23503", false},
		{"deferred trigger", nil, func(t *testing.T, _ *sql.DB, tx *sql.Tx) {
			exec(t, tx, "INSERT INTO checked VALUES ('A')")
		}, "P0001", false},
		{"a statement that failed before", nil, func(t *testing.T, _ *sql.DB, tx *sql.Tx) {
			if _, err := tx.Exec("INSERT INTO nowhere VALUES (1)"); err == nil {
				t.Error("the statement did not fail")
			}
		}, "", false},
		{"a connection that was ended", nil, func(t *testing.T, db *sql.DB, tx *sql.Tx) {
			var pid int
			must(t, tx.QueryRow("SELECT pg_backend_pid()").Scan(&pid))
			_, err := db.Exec("SELECT pg_terminate_backend($1, 5000)", pid)
			must(t, err)
		}, "", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			db, err := sql.Open("pgx", server.Database(t))
			must(t, err)
			defer db.Close()
			_, err = db.Exec(`CREATE TABLE orders (id text);
				CREATE TABLE parents (id text PRIMARY KEY);
				CREATE TABLE children (parent text REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED);
				CREATE TABLE checked (id text);
				CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$;
				CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON checked DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse();`)
			must(t, err)
			var rec airlocktest.Recorder
			err = airlocksql.RunTx(t.Context(), db, tc.opts, rec.Execute, func(ctx context.Context, tx *sql.Tx) error {
				tc.do(t, db, tx)
				return airlock.Enqueue(ctx, paid, "A-1")
			})
			var unknown *airlocksql.CommitError
			if tc.open {
				if !errors.As(err, &unknown) || len(unknown.Intents) != 1 {
					t.Errorf("error %v, want a CommitError with the intent", err)
				}
			} else {
				wantRefused(t, err)
			}
			var own *pgconn.PgError
			if tc.state != "" && (!errors.As(err, &own) || own.Code != tc.state) {
				t.Errorf("error %v, want SQLSTATE %s", err, tc.state)
			}
			if n := len(rec.Intents()); n != 0 {
				t.Errorf("%d jobs", n)
			}
		})
	}
}

// The driver of pgx gives COMMIT the context of BeginTx. A request that ends meanwhile
// must not leave a COMMIT of unknown fate.
func TestAContextThatEndsDuringTheCommit(t *testing.T) {
	t.Parallel()
	server := servers.Postgres(t, servers.PostgresOptions{})
	for _, withOutbox := range []bool{false, true} {
		db, err := sql.Open("pgx", server.Database(t))
		must(t, err)
		defer db.Close()
		_, err = db.Exec(`CREATE TABLE orders (id text);
			CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END $$;
			CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait();`)
		must(t, err)
		var rec airlocktest.Recorder
		var opts []airlock.Option
		if withOutbox {
			box, err := outbox.New(outbox.Postgres, &outbox.Options{For: rec.Execute, DB: outbox.SQL(db)})
			must(t, err)
			must(t, box.CreateTable(t.Context(), outbox.SQL(db)))
			opts = append(opts, airlocksql.Outbox(box))
		}
		// COMMIT waits for this lock.
		conn, err := db.Conn(t.Context())
		must(t, err)
		defer conn.Close()
		_, err = conn.ExecContext(t.Context(), "SELECT pg_advisory_lock(1)")
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- airlocksql.RunTx(ctx, db, nil, rec.Execute, pay, opts...) }()
		for waiting := 0; waiting == 0; {
			must(t, conn.QueryRowContext(t.Context(), "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").Scan(&waiting))
		}
		cancel()
		_, err = conn.ExecContext(t.Context(), "SELECT pg_advisory_unlock(1)")
		must(t, err)
		if err := <-done; err != nil {
			t.Errorf("outbox %v: %v", withOutbox, err)
		}
		var n int
		must(t, conn.QueryRowContext(t.Context(), "SELECT count(*) FROM orders").Scan(&n))
		if n != 1 || len(rec.Intents()) != 1 {
			t.Errorf("outbox %v: %d orders and %d jobs", withOutbox, n, len(rec.Intents()))
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func exec(t *testing.T, tx *sql.Tx, statement string) {
	t.Helper()
	_, err := tx.Exec(statement)
	must(t, err)
}
