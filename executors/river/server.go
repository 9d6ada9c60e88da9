package riverexec

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/riverqueue/river/riverdriver"

	"github.com/goairlock/airlock/core"
)

// CheckServer returns what about the database would lose jobs or break a claim of
// the executor's, all of it joined: migrations of River's that are missing, a server
// that forgets what it has acknowledged (fsync, synchronous_commit, an unlogged
// table, SQLite's synchronous and journal_mode), a read-only one, and a connection
// pooler that loses prepared statements. Each is [core.ErrInvalid]. What the user may
// not ask is no failure. A database that does not answer is [core.ErrUnavailable].
//
// CheckServer cannot see a PgBouncer that only stops LISTEN. Workers behind one in
// transaction mode need Config.PollOnly.
func (e *Executor[TTx]) CheckServer(ctx context.Context) error {
	switch {
	case e == nil || e.client == nil:
		return errZeroExecutor
	case ctx == nil:
		return fmt.Errorf("airlock: river: CheckServer: nil context: %w", core.ErrInvalid)
	case !e.client.Driver().PoolIsSet():
		return fmt.Errorf("airlock: river: CheckServer needs a client with a connection pool: %w", core.ErrInvalid)
	}
	exec := e.client.Driver().GetExecutor()
	if err := exec.Ping(ctx); err != nil {
		if isPooler(err) {
			return errPooler
		}
		return withContext(ctx, fmt.Errorf("%w: %w", core.ErrUnavailable, err))
	}
	problems := []error{e.checkMigrations(ctx, exec)}
	if e.database == sqlite {
		problems = append(problems, checkSQLite(ctx, exec)...)
	} else {
		problems = append(problems, e.checkPostgres(ctx, exec)...)
	}
	return errors.Join(problems...)
}

func problem(format string, args ...any) error {
	return fmt.Errorf("airlock: river: "+format+": %w", append(args, core.ErrInvalid)...)
}

// checkMigrations compares the applied migrations with those that the driver has.
func (e *Executor[TTx]) checkMigrations(ctx context.Context, exec riverdriver.Executor) error {
	applied, err := exec.MigrationGetByLine(ctx, &riverdriver.MigrationGetByLineParams{Line: riverdriver.MigrationLineMain, Schema: e.client.Schema()})
	switch state := sqlState(err); {
	case err == nil:
	case state == "42P01", strings.Contains(err.Error(), "no such table"):
		return problem("River's tables are missing, run its migrations")
	case state == "42703", strings.Contains(err.Error(), "no such column"):
		return problem("River's tables are of an old version, run its migrations")
	case isPooler(err):
		return errPooler
	default:
		return nil // cannot tell
	}
	have := 0
	for _, m := range applied {
		have = max(have, m.Version)
	}
	if want := newestMigration(e.client.Driver().GetMigrationFS(riverdriver.MigrationLineMain)); have < want {
		return problem("River's tables are at migration %d, and the driver wants %d: run its migrations", have, want)
	}
	return nil
}

// newestMigration returns the highest number of a file like
// migration/main/008_name.up.sql.
func newestMigration(files fs.FS) (newest int) {
	names, err := fs.Glob(files, path.Join("migration", riverdriver.MigrationLineMain, "*.up.sql"))
	if err != nil {
		return 0
	}
	for _, file := range names {
		number, _, _ := strings.Cut(path.Base(file), "_")
		if n, err := strconv.Atoi(number); err == nil {
			newest = max(newest, n)
		}
	}
	return newest
}

func (e *Executor[TTx]) checkPostgres(ctx context.Context, exec riverdriver.Executor) (problems []error) {
	setting := func(name, bad, means string) {
		var value string
		err := exec.QueryRow(ctx, "SELECT current_setting('"+name+"')").Scan(&value)
		switch {
		case err == nil && value == bad:
			problems = append(problems, problem("%s is %s: %s", name, value, means))
		case isPooler(err):
			problems = append(problems, errPooler)
		}
	}
	const forgets = "a crash of the server loses jobs that it has acknowledged"
	setting("fsync", "off", forgets)
	setting("full_page_writes", "off", forgets)
	setting("synchronous_commit", "off", forgets)
	setting("transaction_read_only", "on", "nothing can be stored, this may be a standby")
	table := jobTable{schema: e.client.Schema()}.name()
	var persistence string
	if err := exec.QueryRow(ctx, "SELECT relpersistence::text FROM pg_class WHERE oid = to_regclass('"+table+"')").Scan(&persistence); err == nil && persistence == "u" {
		problems = append(problems, problem("the table river_job is unlogged: a crash of the server empties it"))
	}
	return problems
}

func checkSQLite(ctx context.Context, exec riverdriver.Executor) (problems []error) {
	var synchronous int
	if exec.QueryRow(ctx, "PRAGMA synchronous").Scan(&synchronous) == nil && synchronous == 0 {
		problems = append(problems, problem("synchronous is OFF: a power failure loses jobs or the whole file"))
	}
	var journal string
	if exec.QueryRow(ctx, "PRAGMA journal_mode").Scan(&journal) == nil {
		switch strings.ToLower(journal) {
		case "off", "memory":
			problems = append(problems, problem("journal_mode is %s: a crash may lose the whole file", journal))
		}
	}
	var file string
	if exec.QueryRow(ctx, "SELECT coalesce(max(file), '') FROM pragma_database_list WHERE name = 'main'").Scan(&file) == nil && file == "" {
		problems = append(problems, problem("the database is in memory: its jobs end with this process"))
	}
	return problems
}

var errPooler = problem("prepared statements get lost: behind PgBouncer in transaction mode use " +
	"default_query_exec_mode=exec for pgx, or max_prepared_statements of PgBouncer 1.21")

// isPooler reports the errors that a prepared statement ends with if each
// transaction has another server connection.
func isPooler(err error) bool {
	switch sqlState(err) {
	case "26000", "42P05", "08P01": // no such prepared statement, there is one already, protocol violation
		return true
	}
	return false
}
