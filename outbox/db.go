package outbox

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/goairlock/airlock/core"
)

// Tx runs statements in a transaction that the caller ends. [SQL] makes one of
// *sql.Tx and of everything that has its methods: the transactions of sqlx and ent,
// and the ConnPool of gorm. airlockpgx.Tx makes one of pgx.Tx.
//
// The placeholders are $1 on PostgreSQL, ?1 on SQLite and ? on MySQL. The arguments are int64,
// string, []byte and nil.
type Tx interface {
	// Exec runs a statement and returns how many rows it has changed.
	Exec(ctx context.Context, query string, args ...any) (int64, error)
	// Query runs a statement that returns rows.
	Query(ctx context.Context, query string, args ...any) (Rows, error)
}

// Rows are the rows that a query returns. *sql.Rows has these methods.
type Rows interface {
	Next() bool
	// Scan gets pointers to int64, string and []byte, and to pointers to int64 for
	// columns that may be NULL.
	Scan(dest ...any) error
	Err() error
	Close() error
}

// DB is a database. Its own Exec and Query are outside of every transaction.
type DB interface {
	Tx
	// Transact begins a transaction of the isolation level READ COMMITTED, calls fn
	// with it, and commits. If fn returns an error it rolls back.
	Transact(ctx context.Context, fn func(tx Tx) error) error
}

// SQLHandle is what [SQL] needs: a *sql.DB, *sql.Conn or *sql.Tx, or a type of
// another library with these methods.
type SQLHandle interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// SQL adapts a handle of database/sql. The result is a transaction for [Box.InTx]
// if the handle is one. It is a [DB] for everything else if the handle is a *sql.DB
// or a *sql.Conn. Using a nil handle returns [core.ErrInvalid], and so does
// Transact of a handle that cannot begin a transaction.
func SQL(handle SQLHandle) DB {
	switch h := handle.(type) {
	case *sql.DB:
		if h == nil {
			handle = nil
		}
	case *sql.Conn:
		if h == nil {
			handle = nil
		}
	case *sql.Tx:
		if h == nil {
			handle = nil
		}
	}
	return sqlDB{handle}
}

type sqlDB struct{ handle SQLHandle }

type sqlBeginner interface {
	BeginTx(ctx context.Context, opts *sql.TxOptions) (*sql.Tx, error)
}

var errNilDB = fmt.Errorf("airlock: outbox: nil database handle: %w", core.ErrInvalid)

func (d sqlDB) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	if d.handle == nil {
		return 0, errNilDB
	}
	result, err := d.handle.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func (d sqlDB) Query(ctx context.Context, query string, args ...any) (Rows, error) {
	if d.handle == nil {
		return nil, errNilDB
	}
	rows, err := d.handle.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return rows, nil
}

func (d sqlDB) Transact(ctx context.Context, fn func(tx Tx) error) error {
	if d.handle == nil {
		return errNilDB
	}
	beginner, ok := d.handle.(sqlBeginner)
	if !ok {
		return fmt.Errorf("airlock: outbox: %T cannot begin a transaction, want a *sql.DB or *sql.Conn: %w", d.handle, core.ErrInvalid)
	}
	tx, err := beginner.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return err
	}
	defer tx.Rollback() // after the COMMIT it does nothing
	if err := fn(sqlDB{tx}); err != nil {
		return err
	}
	return tx.Commit()
}

// autocommit reports whether a statement of tx is its own transaction.
func autocommit(tx Tx) bool {
	if d, ok := tx.(sqlDB); ok {
		// Every transaction can be committed. A database of another library need not
		// have the BeginTx of database/sql.
		_, ends := d.handle.(interface{ Commit() error })
		return !ends
	}
	_, begins := tx.(DB)
	return begins
}

// collect runs a query and calls scan for each row.
func collect(ctx context.Context, db Tx, query string, args []any, scan func(Rows) error) error {
	rows, err := db.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return rows.Close()
}

// number runs a query for one number. found is false if there is no row, or if it
// is NULL.
func number(ctx context.Context, db Tx, query string, args ...any) (n int64, found bool, err error) {
	err = collect(ctx, db, query, args, func(rows Rows) error {
		var p *int64
		if err := rows.Scan(&p); err != nil {
			return err
		}
		if p != nil {
			n, found = *p, true
		}
		return nil
	})
	return n, found, err
}
