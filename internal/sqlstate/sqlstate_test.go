package sqlstate_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/goairlock/airlock/internal/sqlstate"
)

type pgError string

func (e pgError) Error() string    { return "ERROR: " + string(e) }
func (e pgError) SQLState() string { return string(e) }

// mysqlError has the fields of that of go-sql-driver/mysql.
type mysqlError struct {
	Number   uint16
	SQLState [5]byte
}

func (e *mysqlError) Error() string { return fmt.Sprintf("Error %d (%s)", e.Number, e.SQLState) }

func mysql(number uint16, state string) error {
	return &mysqlError{number, [5]byte([]byte(state))}
}

func TestTheAnswerToAStatement(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		want bool
	}{
		"nil":                             {nil, false},
		"PostgreSQL: no such table":       {pgError("42P01"), true},
		"PostgreSQL: cancelled":           {pgError("57014"), true},
		"PostgreSQL: disk full":           {pgError("53100"), true},
		"PostgreSQL: shutdown":            {pgError("57P01"), false},
		"PostgreSQL: connection":          {pgError("08006"), false},
		"PostgreSQL: completion unknown":  {pgError("40003"), false},
		"PostgreSQL: no state":            {pgError(""), false},
		"MySQL: no such table":            {mysql(1146, "42S02"), true},
		"MySQL: wrapped":                  {fmt.Errorf("gorm: %w", mysql(1146, "42S02")), true},
		"MySQL: joined":                   {errors.Join(errors.New("hook"), mysql(1213, "40001")), true},
		"MySQL: read-only":                {mysql(1290, "HY000"), true},
		"MySQL: table is full":            {mysql(1114, "HY000"), true},
		"MySQL: lock wait timeout":        {mysql(1205, "HY000"), true},
		"MySQL: shutdown":                 {mysql(1053, "08S01"), false},
		"MySQL: error during COMMIT":      {mysql(1180, "HY000"), false},
		"MySQL: unknown error":            {mysql(1105, "HY000"), false},
		"MySQL: a proxy has lost MySQL":   {mysql(2013, "HY000"), false},
		"a connection that was lost":      {io.ErrUnexpectedEOF, false},
		"a wrapped connection error":      {fmt.Errorf("driver: %w", io.EOF), false},
		"an error with another SQLState":  {struct{ error }{io.EOF}, false},
		"joined errors without an answer": {errors.Join(io.EOF, io.ErrClosedPipe), false},
	} {
		if got := sqlstate.RefusedStatement(c.err); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
