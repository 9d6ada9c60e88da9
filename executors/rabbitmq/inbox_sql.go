package rabbitexec

import (
	"context"
	"database/sql"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goairlock/airlock/adapter"
)

type sqlInbox struct {
	db                     *sql.DB
	expire, insert, update string
	remove, read           string
}

// InboxSchema returns the statement that creates the table of [NewSQLInbox], unless it
// exists. The column expires has milliseconds since 1970, 0 for never. Rows that have
// expired may be deleted at any time.
func InboxSchema(table string) string {
	return "CREATE TABLE IF NOT EXISTS " + table + " (id VARCHAR(64) PRIMARY KEY, state VARCHAR(128) NOT NULL, expires BIGINT NOT NULL)"
}

var tableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?$`)

// NewSQLInbox returns an inbox in a table of PostgreSQL or SQLite, which [InboxSchema]
// creates. placeholder is what the driver has in front of the number of a parameter: "$"
// for PostgreSQL, and "?" for SQLite. A nil db, and names that are none, are
// [core.ErrInvalid].
func NewSQLInbox(db *sql.DB, table, placeholder string) (Inbox, error) {
	switch {
	case db == nil:
		return nil, invalid("NewSQLInbox: nil database")
	case !tableName.MatchString(table):
		return nil, invalid("NewSQLInbox: table %q, want letters, digits and _, with a schema and a dot if need be", table)
	case placeholder != "$" && placeholder != "?":
		return nil, invalid("NewSQLInbox: placeholder %q, want $ or ?", placeholder)
	}
	text := strings.NewReplacer("inbox", table, "$", placeholder)
	return &sqlInbox{
		db:     db,
		expire: text.Replace("DELETE FROM inbox WHERE id = $1 AND expires > 0 AND expires < $2"),
		insert: text.Replace("INSERT INTO inbox (id, state, expires) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING"),
		update: text.Replace("UPDATE inbox SET state = $1, expires = $2 WHERE id = $3 AND state = $4"),
		remove: text.Replace("DELETE FROM inbox WHERE id = $1 AND state = $2"),
		read:   text.Replace("SELECT state FROM inbox WHERE id = $1"),
	}, nil
}

// Swap makes the changes in one transaction, in the order of their keys, so that two
// transactions do not wait for each other.
func (s *sqlInbox) Swap(ctx context.Context, changes []InboxChange) ([]string, error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, adapter.Masked(err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it does nothing
	order := make([]int, len(changes))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(changes[a].Key, changes[b].Key) })
	before, now := make([]string, len(changes)), time.Now()
	for _, i := range order {
		if before[i], err = s.swap(ctx, tx, &changes[i], now); err != nil {
			return nil, adapter.Masked(err)
		}
	}
	return before, adapter.Masked(tx.Commit())
}

func (s *sqlInbox) swap(ctx context.Context, tx *sql.Tx, c *InboxChange, now time.Time) (before string, err error) {
	if _, err := tx.ExecContext(ctx, s.expire, c.Key, now.UnixMilli()); err != nil {
		return "", err
	}
	var expires int64
	if c.Keep > 0 {
		expires = now.UnixMilli() + milliseconds(c.Keep)
	}
	for range maxSwaps { // another transaction may commit between the change and the read
		done, err := s.change(ctx, tx, c, expires)
		if err != nil || done {
			return c.Old, err
		}
		before = ""
		if err := tx.QueryRowContext(ctx, s.read, c.Key).Scan(&before); err != nil && !errors.Is(err, sql.ErrNoRows) {
			return "", err
		}
		if before != c.Old || c.New == "" {
			return before, nil
		}
	}
	return "", errors.New("sql inbox: a key that others change all the time")
}

const maxSwaps = 10

// change reports whether the key had the old value, and then has the new one.
func (s *sqlInbox) change(ctx context.Context, tx *sql.Tx, c *InboxChange, expires int64) (bool, error) {
	var result sql.Result
	var err error
	switch {
	case c.Old == "" && c.New == "":
		return false, nil
	case c.Old == "":
		result, err = tx.ExecContext(ctx, s.insert, c.Key, c.New, expires)
	case c.New == "":
		result, err = tx.ExecContext(ctx, s.remove, c.Key, c.Old)
	default:
		result, err = tx.ExecContext(ctx, s.update, c.New, expires, c.Key, c.Old)
	}
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n == 1, err
}

// milliseconds rounds up.
func milliseconds(d time.Duration) int64 {
	return int64(adapter.RoundUp(d, time.Millisecond) / time.Millisecond)
}
