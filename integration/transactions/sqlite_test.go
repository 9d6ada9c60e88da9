package transactions_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"modernc.org/sqlite"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/airlocksql"
	"github.com/goairlock/airlock/airlocktest"
	"github.com/goairlock/airlock/core"
)

var paid = core.DeclareTask[string]("order.paid")

// testEnv is a database file with one table, and a recorder for a queue.
type testEnv struct {
	db   *sql.DB
	file string
	rec  airlocktest.Recorder
	// afterCommit runs when the database has committed, before the caller gets the
	// answer. Its error replaces the answer.
	afterCommit func() error
}

func setup(t *testing.T) *testEnv {
	t.Helper()
	w := new(testEnv)
	w.file = filepath.Join(t.TempDir(), "shop.db")
	w.db = sql.OpenDB(&connector{w: w, file: w.file})
	w.db.SetMaxOpenConns(1)
	t.Cleanup(func() { w.db.Close() })
	if _, err := w.db.ExecContext(t.Context(), "CREATE TABLE orders (id TEXT)"); err != nil {
		t.Fatal(err)
	}
	return w
}

// pay inserts an order and enqueues a job for it.
func pay(ctx context.Context, tx *sql.Tx) error {
	if _, err := tx.ExecContext(ctx, "INSERT INTO orders VALUES ('A-1')"); err != nil {
		return err
	}
	return airlock.Enqueue(ctx, paid, "A-1")
}

// want fails the test unless the table and the queue have this many.
func (w *testEnv) want(t *testing.T, orders, jobs int) {
	t.Helper()
	var n int
	if err := w.db.QueryRowContext(t.Context(), "SELECT count(*) FROM orders").Scan(&n); err != nil {
		t.Fatal(err)
	}
	if n != orders || len(w.rec.Intents()) != jobs {
		t.Errorf("%d orders and %d jobs, want %d and %d", n, len(w.rec.Intents()), orders, jobs)
	}
}

func TestDataAndJobsAreStoredTogether(t *testing.T) {
	t.Parallel()
	w := setup(t)
	if err := airlocksql.RunTx(t.Context(), w.db, nil, w.rec.Execute, pay); err != nil {
		t.Fatal(err)
	}
	w.want(t, 1, 1)
}

func TestDataAndJobsAreDiscardedTogether(t *testing.T) {
	t.Parallel()
	w := setup(t)
	declined := errors.New("declined")
	err := airlocksql.RunTx(t.Context(), w.db, nil, w.rec.Execute, func(ctx context.Context, tx *sql.Tx) error {
		return errors.Join(pay(ctx, tx), declined)
	})
	if !errors.Is(err, declined) {
		t.Errorf("error %v", err)
	}
	w.want(t, 0, 0)
}

func TestAPanicRollsBack(t *testing.T) {
	t.Parallel()
	w := setup(t)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic did not go on")
			}
		}()
		airlocksql.RunTx(t.Context(), w.db, nil, w.rec.Execute, func(ctx context.Context, tx *sql.Tx) error { // it panics
			if err := pay(ctx, tx); err != nil {
				t.Error(err)
			}
			panic("boom")
		})
	}()
	w.want(t, 0, 0)
}

func TestTheJobsAreThereWhenTheContextEndsWithTheCommit(t *testing.T) {
	t.Parallel()
	w := setup(t)
	ctx, cancel := context.WithCancel(t.Context())
	w.afterCommit = func() error { cancel(); return nil }
	if err := airlocksql.RunTx(ctx, w.db, nil, w.rec.Execute, pay); err != nil || ctx.Err() == nil {
		t.Errorf("error %v, context %v", err, ctx.Err())
	}
	w.want(t, 1, 1)
}

func TestAContextThatEndsBeforeTheCommitRollsBack(t *testing.T) {
	t.Parallel()
	w := setup(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := airlocksql.RunTx(ctx, w.db, nil, w.rec.Execute, func(ctx context.Context, tx *sql.Tx) error {
		err := pay(ctx, tx)
		cancel()
		return err
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	w.want(t, 0, 0)
}

// The data are committed, but the answer is lost. No job is sent on a guess. The
// error has the intents, and sending them twice makes one job each.
func TestAfterACommitWithoutAnAnswerTheIntentsCanBeSent(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.afterCommit = func() error { return io.ErrUnexpectedEOF }
	err := airlocksql.RunTx(t.Context(), w.db, nil, w.rec.Execute, pay)
	var ce *airlocksql.CommitError
	if !errors.As(err, &ce) || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("error %v, want a CommitError", err)
	}
	w.afterCommit = nil
	w.want(t, 1, 0) // committed after all
	for range 2 {
		if err := w.rec.Execute(t.Context(), ce.Intents...); err != nil {
			t.Error(err)
		}
	}
	w.want(t, 1, 1)
	airlocktest.RequireDispatched(t, &w.rec, paid, func(order string) bool { return order == "A-1" })
}

// COMMIT makes the deferred check of a foreign key, and fails.
func TestACommitThatTheDatabaseRefusesSendsNothing(t *testing.T) {
	t.Parallel()
	w := setup(t)
	for _, statement := range []string{
		"PRAGMA foreign_keys = ON",
		"CREATE TABLE parents (id TEXT PRIMARY KEY)",
		"CREATE TABLE children (parent TEXT REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED)",
	} {
		if _, err := w.db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	err := airlocksql.RunTx(t.Context(), w.db, nil, w.rec.Execute, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO children VALUES ('nobody')")
		return errors.Join(err, pay(ctx, tx))
	})
	wantRefused(t, err)
	var own *sqlite.Error
	if !errors.As(err, &own) {
		t.Errorf("error %v, want SQLite's own", err)
	}
	w.want(t, 0, 0)
}

// COMMIT waits for a reader of another connection, and gives up.
func TestACommitOfABusyDatabaseSendsNothing(t *testing.T) {
	t.Parallel()
	w := setup(t)
	other, err := sql.Open("sqlite", w.file)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	rows, err := other.QueryContext(t.Context(), "SELECT 1 FROM sqlite_schema") // holds a shared lock until it is closed
	if err != nil || !rows.Next() {
		t.Fatal(err)
	}
	err = airlocksql.RunTx(t.Context(), w.db, nil, w.rec.Execute, pay)
	wantRefused(t, err)
	if err := rows.Close(); err != nil {
		t.Error(err)
	}
	w.want(t, 0, 0)
}

// wantRefused fails the test unless err says that nothing was committed.
func wantRefused(t *testing.T, err error) {
	t.Helper()
	var unknown *airlocksql.CommitError
	if err == nil || errors.As(err, &unknown) || !strings.Contains(err.Error(), "refused COMMIT") {
		t.Errorf("error %v, want a refused COMMIT", err)
	}
}

// connector opens SQLite connections whose COMMIT the test can change.
type connector struct {
	w    *testEnv
	file string
}

func (c *connector) Driver() driver.Driver { return &sqlite.Driver{} }

func (c *connector) Connect(context.Context) (driver.Conn, error) {
	conn, err := c.Driver().Open(c.file)
	if err != nil {
		return nil, err
	}
	return &tampered{conn.(fullConn), c.w}, nil
}

// fullConn has the interfaces of a modern driver that database/sql uses.
type fullConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ExecerContext
	driver.QueryerContext
}

type tampered struct {
	fullConn
	w *testEnv
}

func (t *tampered) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	tx, err := t.fullConn.BeginTx(ctx, opts)
	return &tamperedTx{tx, t.w}, err
}

type tamperedTx struct {
	driver.Tx
	w *testEnv
}

func (t *tamperedTx) Commit() error {
	if err := t.Tx.Commit(); err != nil || t.w.afterCommit == nil {
		return err
	}
	return t.w.afterCommit()
}
