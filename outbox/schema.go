package outbox

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

// SchemaVersion is the version of the tables that this package reads and writes.
const SchemaVersion = 1

// DefaultTable is the name of the table if there is no other.
const DefaultTable = "airlock_outbox"

// partitions is how many partitions an ordered outbox has. It is part of the
// schema: rows hold the number of their partition.
const partitions = 64

// Errors of [Box.CheckTable], and of a relay that begins.
var (
	// ErrNoTable says that the outbox's tables do not exist in the database.
	ErrNoTable = errors.New("no outbox table")
	// ErrForeignTable says that there is a table of this name that is not an outbox.
	ErrForeignTable = errors.New("not an outbox table")
	// ErrOldSchema says that the tables are of an older version. [Box.CreateTable]
	// migrates them.
	ErrOldSchema = errors.New("older schema version")
	// ErrNewSchema says that the tables are of a later version than this program.
	ErrNewSchema = errors.New("later schema version")
)

// Schema returns the statements that create the tables in a database that has none,
// for migrations of your own. Each ends with a semicolon and a line break. table
// may have a schema before a dot; "" is [DefaultTable].
//
// The table has one row per intent. A second table, with the suffix _meta, has the
// schema's version and the leases of partitions.
func Schema(d Dialect, table string) (string, error) {
	if table == "" {
		table = DefaultTable
	}
	if err := errors.Join(d.validate(), validateTable(table)); err != nil {
		return "", err
	}
	var text strings.Builder
	for _, step := range schemaSteps(d, table) {
		for _, s := range step {
			text.WriteString(s + ";\n")
		}
	}
	return text.String(), nil
}

// schemaSteps returns the statements that lead from each version to the next one.
// Version 0 has no tables. The last statement of a step sets the version.
func schemaSteps(d Dialect, table string) [][]string {
	return [][]string{schemaV1(d, table)}
}

func schemaV1(d Dialect, table string) []string {
	name, meta, base := d.quote(table), d.quote(table+"_meta"), table
	if _, after, ok := strings.Cut(table, "."); ok {
		base = after
	}
	index := func(suffix, columns, where string) string {
		index, on := d.quote(base+suffix), name
		if d == SQLite { // which wants the schema with the index and not with its table
			index, on = d.quote(table+suffix), d.quote(base)
		}
		return fmt.Sprintf("CREATE INDEX IF NOT EXISTS %s ON %s (%s)%s", index, on, columns, where)
	}
	var key, text, ascii, long, bytes, tail string
	switch d {
	case Postgres:
		key, text, ascii, long, bytes = "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "text", "text", "text", "bytea"
	case SQLite:
		key, text, ascii, long, bytes = "integer PRIMARY KEY AUTOINCREMENT", "text", "text", "text", "blob"
	case MySQL:
		key, text, bytes = "bigint AUTO_INCREMENT PRIMARY KEY", "varchar(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", "longblob"
		ascii, long = "varchar(200) CHARACTER SET ascii COLLATE ascii_bin", "varchar(1000) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
		tail = fmt.Sprintf(",\n  KEY %s (dest, due, seq),\n  KEY %s (dest, part, due, seq),\n  KEY %s (id)\n) ENGINE=InnoDB",
			d.quote(base+"_due"), d.quote(base+"_part"), d.quote(base+"_id"))
	}
	if tail == "" {
		tail = "\n)"
	}
	columns := []string{
		"seq " + key,                              // the order of the INSERTs
		"id " + ascii + " NOT NULL",               // the intent's ID
		"dest " + text + " NOT NULL",              // Options.Destination
		"part integer",                            // the partition; NULL if not ordered
		"task " + ascii + " NOT NULL",             // for people who look at the table
		"queue " + ascii + " NOT NULL",            // also for them
		"intent " + bytes + " NOT NULL",           // adapter.EncodeIntent
		"created bigint NOT NULL",                 // microseconds since 1970, as every time here
		"not_before bigint NOT NULL",              // when it became, or becomes, ready to be sent
		"due bigint",                              // when a relay may take it: not_before, a lease's end, or after a backoff; NULL: never
		"attempts integer NOT NULL DEFAULT 0",     // how often it was claimed for a dispatch
		"first_sent bigint",                       // the first attempt after which the executor may have it
		"sent_before bigint",                      // first_sent without the current attempt
		"token " + ascii + " NOT NULL DEFAULT ''", // who holds the lease
		"state smallint NOT NULL DEFAULT 0",       // see rowState
		"reason " + long + " NOT NULL DEFAULT ''", // why it is dead or held
	}
	step := []string{fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s (\n  %s%s", name, strings.Join(columns, ",\n  "), tail)}
	if d != MySQL {
		step = append(step, index("_due", "dest, due, seq", ""), index("_part", "dest, part, due, seq", " WHERE part IS NOT NULL"))
	}
	metaTail := "\n)"
	if d == MySQL {
		metaTail = "\n) ENGINE=InnoDB"
	}
	step = append(step, fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s (\n  part integer PRIMARY KEY,\n  version integer NOT NULL,\n  token %s NOT NULL DEFAULT '',\n  until bigint NOT NULL DEFAULT 0%s",
		meta, ascii, metaTail))
	rows := make([]string, 0, partitions+1)
	for part := range partitions {
		rows = append(rows, fmt.Sprintf("(%d, 0)", part))
	}
	// Row -1 has the version. It comes last: without it the tables are not complete.
	step = append(step, d.insertMissing(meta, "(part, version) VALUES "+strings.Join(rows, ", ")))
	return append(step, d.insertMissing(meta, "(part, version) VALUES (-1, 1)"))
}

func (d Dialect) insertMissing(table, rest string) string {
	if d == MySQL {
		return "INSERT IGNORE INTO " + table + " " + rest
	}
	return "INSERT INTO " + table + " " + rest + " ON CONFLICT DO NOTHING"
}

// validateTable checks a name that is put into statements.
func validateTable(table string) error {
	parts := strings.Split(table, ".")
	good := len(parts) <= 2
	for _, part := range parts {
		good = good && part != "" && len(part) <= 48 && (part[0] < '0' || part[0] > '9')
		for _, c := range []byte(part) {
			good = good && (c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z')
		}
	}
	if !good {
		return fmt.Errorf("airlock: outbox: table name %q, want letters, digits and _, at most 48 bytes, after a schema and a dot if need be: %w", table, core.ErrInvalid)
	}
	return nil
}

// CreateTable creates the tables if they do not exist, and migrates tables of an
// older version. It changes nothing if they are current. Several processes may call
// it at a time. It returns [ErrForeignTable] and [ErrNewSchema], like
// [Box.CheckTable].
func (b *Box) CreateTable(ctx context.Context, db DB) error {
	if err := b.ready(ctx, db); err != nil {
		return err
	}
	return b.migrate(ctx, db, schemaSteps(b.dialect, b.table))
}

func (b *Box) migrate(ctx context.Context, db DB, steps [][]string) error {
	version, err := b.version(ctx, db)
	if err != nil && !errors.Is(err, ErrNoTable) {
		return err
	}
	for ; version < len(steps); version++ {
		for _, s := range steps[version] {
			if err := execAgain(ctx, db, s); err != nil {
				return fmt.Errorf("airlock: outbox: create or migrate table %s: %w", b.table, adapter.Masked(err))
			}
		}
	}
	return b.checkVersion(ctx, db, len(steps))
}

// execAgain runs a statement of the schema. Another process may run the same one in
// this moment, and IF NOT EXISTS does not rule out that PostgreSQL then fails.
func execAgain(ctx context.Context, db DB, statement string) error {
	for tries := 0; ; tries++ {
		_, err := db.Exec(ctx, statement)
		if err == nil || tries == 5 || ctx.Err() != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond << tries)
	}
}

// CheckTable returns nil if the tables exist and have the version that this program
// needs. Otherwise it returns [ErrNoTable], [ErrForeignTable], [ErrOldSchema],
// [ErrNewSchema], or an error of the database.
func (b *Box) CheckTable(ctx context.Context, db DB) error {
	if err := b.ready(ctx, db); err != nil {
		return err
	}
	return b.checkVersion(ctx, db, SchemaVersion)
}

func (b *Box) checkVersion(ctx context.Context, db Tx, want int) error {
	version, err := b.version(ctx, db)
	switch {
	case err != nil:
		return err
	case version < want:
		return fmt.Errorf("airlock: outbox: table %s has version %d, this program needs %d, see CreateTable: %w", b.table, version, want, ErrOldSchema)
	case version > want:
		return fmt.Errorf("airlock: outbox: table %s has version %d, this program knows %d: %w", b.table, version, want, ErrNewSchema)
	}
	return nil
}

// version returns the version of the tables.
func (b *Box) version(ctx context.Context, db Tx) (int, error) {
	main, err := b.exists(ctx, db, b.table)
	if err != nil {
		return 0, fmt.Errorf("airlock: outbox: look for table %s: %w", b.table, adapter.Masked(err))
	}
	meta, err := b.exists(ctx, db, b.table+"_meta")
	if err != nil {
		return 0, fmt.Errorf("airlock: outbox: look for table %s: %w", b.table, adapter.Masked(err))
	}
	if !main && !meta {
		return 0, fmt.Errorf("airlock: outbox: table %s, see CreateTable: %w", b.table, ErrNoTable)
	}
	if main && !b.hasColumns(ctx, db, b.table, "seq, dest, due, token, intent") ||
		meta && !b.hasColumns(ctx, db, b.table+"_meta", "part, version, token, until") {
		if _, _, err := number(ctx, db, "SELECT 1"); err != nil { // the database is the problem
			return 0, fmt.Errorf("airlock: outbox: look for table %s: %w", b.table, adapter.Masked(err))
		}
		return 0, fmt.Errorf("airlock: outbox: table %s, or its table _meta, has other columns: %w", b.table, ErrForeignTable)
	}
	if !meta {
		// Somebody has created the first table and not the second one.
		return 0, fmt.Errorf("airlock: outbox: table %s is incomplete, see CreateTable: %w", b.table, ErrNoTable)
	}
	version, found, err := number(ctx, db, "SELECT version FROM "+b.quoted(b.table+"_meta")+" WHERE part = -1")
	if err != nil {
		return 0, fmt.Errorf("airlock: outbox: read the version of table %s: %w", b.table, adapter.Masked(err))
	}
	if !found {
		return 0, fmt.Errorf("airlock: outbox: table %s is incomplete, see CreateTable: %w", b.table, ErrNoTable)
	}
	return int(version), nil
}

func (b *Box) exists(ctx context.Context, db Tx, table string) (bool, error) {
	s := newStatement(b.dialect)
	schema, base, qualified := strings.Cut(table, ".")
	if !qualified {
		base = table
	}
	switch b.dialect {
	case Postgres:
		s.add("SELECT 1 WHERE to_regclass(").arg(b.quoted(table)).add(") IS NOT NULL")
	case MySQL:
		s.add("SELECT 1 FROM information_schema.tables WHERE table_name = ").arg(base).add(" AND table_schema = ")
		if qualified {
			s.arg(schema)
		} else {
			s.add("DATABASE()")
		}
	default:
		from := "sqlite_master"
		if qualified {
			from = b.quoted(schema + "." + from)
		}
		s.add("SELECT 1 FROM ", from, " WHERE type IN ('table', 'view') AND name = ").arg(base)
	}
	_, found, err := number(ctx, db, s.text.String(), s.args...)
	return found, err
}

// hasColumns reports whether the table has these columns. A query for no row fails
// if one is missing.
func (b *Box) hasColumns(ctx context.Context, db Tx, table, columns string) bool {
	rows, err := db.Query(ctx, "SELECT "+columns+" FROM "+b.quoted(table)+" WHERE 1 = 0")
	if err != nil {
		return false
	}
	rows.Next() // some drivers report errors late
	err = rows.Err()
	rows.Close()
	return err == nil
}
