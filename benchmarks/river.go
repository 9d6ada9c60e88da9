package main

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	_ "modernc.org/sqlite"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	riverexec "github.com/goairlock/airlock/executors/river"
)

var riverLibraries = []string{"github.com/riverqueue/river", "github.com/jackc/pgx/v5"}

// riverPostgresGroup measures River on PostgreSQL: a loop over its Insert, its
// batches, ours, and the limit, COPY of the same rows into a table like River's
// own, with the same unique index.
func riverPostgresGroup() Group {
	return Group{
		Name: "river", Queue: "river", Title: "River on PostgreSQL: jobs with an identity, and without", Libraries: riverLibraries,
		Sizes: []int{1, 100, 1000, 10000}, Setup: setupRiverPostgres,
	}
}

// riverSQLiteGroup measures River on a SQLite file.
func riverSQLiteGroup() Group {
	return Group{
		Name: "river-sqlite", Queue: "river", Title: "River on SQLite",
		Libraries: []string{"github.com/riverqueue/river", "github.com/riverqueue/river/riverdriver/riversqlite", "modernc.org/sqlite"},
		Sizes:     []int{1, 100, 1000}, Setup: setupRiverSQLite,
	}
}

// riverContenders are those that every database has.
func riverContenders[TTx any](ctx context.Context, driver riverdriver.Driver[TTx], clear func() error) ([]Contender, error) {
	quiet := slog.New(slog.DiscardHandler)
	migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: quiet})
	if err != nil {
		return nil, err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, err
	}
	config := &river.Config{Logger: quiet}
	if err := riverexec.ConfigureClient(config); err != nil {
		return nil, err
	}
	client, err := river.NewClient(driver, config)
	if err != nil {
		return nil, err
	}
	var intents []core.Intent
	var params []river.InsertManyParams
	prepare := func(n int) (err error) {
		intents, err = makeIntents(n)
		params = params[:0]
		for range n {
			params = append(params, river.InsertManyParams{Args: bench})
		}
		return errors.Join(err, clear())
	}
	contenders := []Contender{
		{Name: "River, loop of Insert", MaxSize: loopSize, Prepare: prepare, HandOver: func(n int) error {
			for range n {
				if _, err := client.Insert(ctx, bench, nil); err != nil {
					return err
				}
			}
			return nil
		}},
		{Name: "River, InsertMany", Prepare: prepare, HandOver: func(int) error {
			_, err := client.InsertMany(ctx, params)
			return err
		}},
		{Name: "River, InsertManyFast", Prepare: prepare, HandOver: func(int) error {
			_, err := client.InsertManyFast(ctx, params)
			return err
		}},
	}
	for _, noIdentity := range []bool{false, true} {
		exec, err := riverexec.New(client, &riverexec.Options{NoIdentity: noIdentity})
		if err != nil {
			return nil, err
		}
		name := "airlock"
		if noIdentity {
			name = "airlock, NoIdentity"
		}
		contenders = append(contenders, Contender{Name: name, Prepare: prepare,
			HandOver: func(int) error { return exec.Execute(ctx, intents...) }})
		if noIdentity {
			continue
		}
		contenders = append(contenders,
			Contender{Name: "airlock, in the caller's transaction", Prepare: prepare, HandOver: func(int) error {
				tx, err := driver.GetExecutor().Begin(ctx)
				if err != nil {
					return err
				}
				defer tx.Rollback(ctx) //nolint:errcheck // after the commit it does nothing
				if err := riverexec.InTx(exec, driver.UnwrapTx(tx))(ctx, intents...); err != nil {
					return err
				}
				return tx.Commit(ctx)
			}},
			Contender{Name: "airlock, sent again", Prepare: func(n int) error {
				return errors.Join(prepare(n), exec.Execute(ctx, intents...))
			}, HandOver: func(int) error { return exec.Execute(ctx, intents...) }})
	}
	return contenders, nil
}

func setupRiverPostgres(ctx context.Context, w *world) ([]Contender, error) {
	url, err := w.postgres(ctx)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return nil, err
	}
	w.Cleanup(pool.Close)
	clear := func() error {
		_, err := pool.Exec(ctx, "TRUNCATE river_job")
		return err
	}
	contenders, err := riverContenders(ctx, riverpgxv5.New(pool), clear)
	if err != nil {
		return nil, err
	}
	w.Cleanup(func() { clear() }) //nolint:errcheck // what is left is removed by the next run
	if _, err := pool.Exec(ctx, "DROP TABLE IF EXISTS bench_limit; CREATE TABLE bench_limit (LIKE river_job INCLUDING ALL)"); err != nil {
		return nil, err
	}
	return append(contenders,
		copyLimit(ctx, pool, "COPY of the same rows", true),
		copyLimit(ctx, pool, "COPY without unique_key", false)), nil
}

// copyLimit copies rows that were made before into a table like River's.
func copyLimit(ctx context.Context, pool *pgxpool.Pool, name string, identity bool) Contender {
	columns := []string{"args", "created_at", "kind", "max_attempts", "metadata", "priority", "queue", "scheduled_at", "state", "tags", "unique_key", "unique_states"}
	payload := benchPayload()
	var rows [][]any
	return Contender{
		Name: name, Reference: identity,
		Prepare: func(n int) error {
			intents, err := makeIntents(n)
			if err != nil {
				return err
			}
			rows = rows[:0]
			now := time.Now()
			for i := range intents {
				meta := []byte(`{"airlock":` + string(adapter.Envelope{ID: intents[i].ID}.Encode()) + `}`)
				row := []any{payload, now, "bench.receipt", int16(25), meta, int16(2), "default", now, "available", []string{}, nil, nil}
				if identity {
					row[10] = uuidBytes(intents[i].ID)
					row[11] = pgtype.Bits{Bytes: []byte{0xff}, Len: 8, Valid: true}
				}
				rows = append(rows, row)
			}
			_, err = pool.Exec(ctx, "TRUNCATE bench_limit")
			return err
		},
		HandOver: func(int) error {
			return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
				_, err := tx.CopyFrom(ctx, pgx.Identifier{"bench_limit"}, columns, pgx.CopyFromRows(rows))
				return err
			})
		},
	}
}

func setupRiverSQLite(ctx context.Context, w *world) ([]Contender, error) {
	dir, err := os.MkdirTemp("", "airlock-bench-")
	if err != nil {
		return nil, err
	}
	w.Cleanup(func() { os.RemoveAll(dir) }) //nolint:errcheck // it lies in the temporary folder
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "river.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	w.Cleanup(func() { db.Close() }) //nolint:errcheck // the file is removed
	clear := func() error {
		_, err := db.ExecContext(ctx, "DELETE FROM river_job")
		return err
	}
	contenders, err := riverContenders(ctx, riversqlite.New(db), clear)
	if err != nil {
		return nil, err
	}
	return append(contenders, sqliteLimit(ctx, db)), nil
}

// sqliteLimit inserts rows that were made before, one prepared statement each,
// in one transaction.
func sqliteLimit(ctx context.Context, db *sql.DB) Contender {
	payload := benchPayload()
	var intents []core.Intent
	return Contender{
		Name: "prepared INSERTs of the same rows", Reference: true,
		Prepare: func(n int) (err error) {
			intents, err = makeIntents(n)
			_, cleared := db.ExecContext(ctx, "DELETE FROM river_job")
			return errors.Join(err, cleared)
		},
		HandOver: func(int) error {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer tx.Rollback() //nolint:errcheck // after the commit it does nothing
			insert, err := tx.PrepareContext(ctx, `INSERT INTO river_job (args, kind, max_attempts, metadata, priority, queue, state, unique_key, unique_states)
				VALUES (jsonb(?), 'bench.receipt', 25, jsonb(?), 2, 'default', 'available', ?, 255)`)
			if err != nil {
				return err
			}
			defer insert.Close() //nolint:errcheck // the transaction ends
			for i := range intents {
				meta := `{"airlock":` + string(adapter.Envelope{ID: intents[i].ID}.Encode()) + `}`
				if _, err := insert.ExecContext(ctx, string(payload), meta, uuidBytes(intents[i].ID)); err != nil {
					return err
				}
			}
			return tx.Commit()
		},
	}
}

// uuidBytes is what riverexec makes of an ID.
func uuidBytes(id string) []byte {
	var u pgtype.UUID
	if err := u.Scan(id); err != nil {
		panic(err) // the intents have generated IDs
	}
	return u.Bytes[:]
}
