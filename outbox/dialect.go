package outbox

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/goairlock/airlock/core"
)

// Dialect is the kind of the database.
type Dialect string

// The dialects.
const (
	Postgres Dialect = "postgres"
	MySQL    Dialect = "mysql" // also MariaDB
	SQLite   Dialect = "sqlite"
)

func (d Dialect) validate() error {
	switch d {
	case Postgres, MySQL, SQLite:
		return nil
	}
	return fmt.Errorf("airlock: outbox: unknown dialect %q: %w", string(d), core.ErrInvalid)
}

// now is the database's clock in microseconds since 1970. It is constant within a
// statement, so that an index can be used to compare with it. It depends on no
// time zone.
func (d Dialect) now() string {
	switch d {
	case Postgres:
		// As a float8, which is exact to the microsecond and faster than extract's numeric.
		return "(date_part('epoch', statement_timestamp()) * 1000000)::bigint"
	case MySQL:
		return "TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', UTC_TIMESTAMP(6))"
	default:
		return "(CAST(strftime('%s', 'now') AS INTEGER) * 1000000 + CAST(substr(strftime('%f', 'now'), 4) AS INTEGER) * 1000)"
	}
}

// maxParameters is how many parameters one statement takes: the protocols'
// limits of 16 bits, and SQLITE_MAX_VARIABLE_NUMBER.
func (d Dialect) maxParameters() int {
	if d == SQLite {
		return 32766
	}
	return 65535
}

func (d Dialect) quote(name string) string {
	mark := `"`
	if d == MySQL {
		mark = "`"
	}
	return mark + strings.ReplaceAll(name, ".", mark+"."+mark) + mark
}

// limit ends a query for the first n rows in the order of an index. An outbox is mostly
// empty, and that is what PostgreSQL's statistics say when the first thousands of rows
// wait: for a LIMIT of more rows than it expects, it reads and sorts all of them, at
// every claim. Of a LIMIT that it cannot see it expects a tenth, and follows the index.
func (d Dialect) limit(n int) string {
	if d == Postgres {
		return fmt.Sprintf(" LIMIT (SELECT %d)", n)
	}
	return fmt.Sprintf(" LIMIT %d", n)
}

// returns reports whether INSERT has RETURNING. MySQL has not, MariaDB has.
func (d Dialect) returns() bool { return d != MySQL }

// locks is what makes a query lock rows, and skip those that others have locked.
func (d Dialect) locks() string {
	if d == SQLite {
		return "" // a statement that writes has the whole database
	}
	return " FOR UPDATE SKIP LOCKED"
}

// statement is the text of a statement and its arguments.
type statement struct {
	d    Dialect
	text strings.Builder
	args []any
}

func newStatement(d Dialect) *statement { return &statement{d: d} }

// add appends text.
func (s *statement) add(text ...string) *statement {
	for _, t := range text {
		s.text.WriteString(t)
	}
	return s
}

// arg appends a placeholder for the value.
func (s *statement) arg(value any) *statement {
	s.args = append(s.args, value)
	if s.d == MySQL {
		s.text.WriteByte('?')
		return s
	}
	mark := byte('$')
	if s.d == SQLite {
		mark = '?'
	}
	s.text.WriteByte(mark)
	s.text.WriteString(strconv.Itoa(len(s.args)))
	return s
}

// again appends a placeholder for a value that has one already. at is its number,
// which is 0 if it has none yet, and is set.
func (s *statement) again(value any, at *int) *statement {
	if s.d == MySQL {
		return s.arg(value) // its placeholders have no numbers
	}
	return s.add(s.mark(value, at))
}

// mark returns the placeholder of again, without appending it. It is not for MySQL.
func (s *statement) mark(value any, at *int) string {
	if *at == 0 {
		s.args = append(s.args, value)
		*at = len(s.args)
	}
	if s.d == SQLite {
		return "?" + strconv.Itoa(*at)
	}
	return "$" + strconv.Itoa(*at)
}

// micros appends a number of microseconds. It is a parameter, so that the text of
// the statement stays the same.
func (s *statement) micros(n int64) *statement {
	return s.arg(n).cast("bigint")
}

// cast gives PostgreSQL the type of what was appended last. The others know it.
func (s *statement) cast(to string) *statement {
	if s.d == Postgres {
		s.add("::", to)
	}
	return s
}

// in appends a condition on a column of whole numbers. On PostgreSQL and SQLite the
// text does not depend on how many there are, so that drivers that keep prepared
// statements keep one.
func (s *statement) in(column string, numbers []int64) *statement {
	switch s.d {
	case Postgres:
		return s.add(column, " = ANY(string_to_array(").arg(joinNumbers(numbers)).add(", ',')::bigint[])")
	case SQLite:
		list, _ := json.Marshal(numbers) // numbers can be marshalled
		return s.add(column, " IN (SELECT value FROM json_each(").arg(string(list)).add("))")
	default:
		return s.add(column, " IN (", joinNumbers(numbers), ")")
	}
}

func joinNumbers(numbers []int64) string {
	text := make([]byte, 0, 8*len(numbers))
	for i, n := range numbers {
		if i > 0 {
			text = append(text, ',')
		}
		text = strconv.AppendInt(text, n, 10)
	}
	return string(text)
}
