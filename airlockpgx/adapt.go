package airlockpgx

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/outbox"
)

// Tx adapts a transaction for [outbox.Box.InTx] and [outbox.Box.Hold]. Using a nil
// transaction returns [core.ErrInvalid].
func Tx(tx pgx.Tx) outbox.Tx {
	if tx == nil {
		return statements{}
	}
	return statements{tx}
}

// DB adapts a pool for [outbox.NewRelay] and everything else of package outbox that
// needs a database. Using a nil pool returns [core.ErrInvalid].
func DB(pool *pgxpool.Pool) outbox.DB {
	if pool == nil {
		return database{}
	}
	return database{statements{pool}, pool}
}

// handle is what pgx.Tx and *pgxpool.Pool have in common.
type handle interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

type statements struct{ handle handle }

var errNil = fmt.Errorf("airlock: airlockpgx: nil transaction or pool: %w", core.ErrInvalid)

func (s statements) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	if s.handle == nil {
		return 0, errNil
	}
	tag, err := s.handle.Exec(ctx, query, args...)
	return tag.RowsAffected(), err
}

func (s statements) Query(ctx context.Context, query string, args ...any) (outbox.Rows, error) {
	if s.handle == nil {
		return nil, errNil
	}
	found, err := s.handle.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return rows{found}, nil
}

// rows gives pgx.Rows a Close that returns an error.
type rows struct{ pgx.Rows }

func (r rows) Close() error {
	r.Rows.Close()
	return r.Rows.Err()
}

type database struct {
	statements
	pool *pgxpool.Pool
}

func (d database) Transact(ctx context.Context, fn func(tx outbox.Tx) error) error {
	if d.pool == nil {
		return errNil
	}
	return pgx.BeginTxFunc(ctx, d.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error { return fn(Tx(tx)) })
}
