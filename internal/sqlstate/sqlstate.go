// Package sqlstate finds out from the error of a database driver what the database has
// answered. It imports no driver.
package sqlstate

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// RefusedStatement reports that a server has answered a statement outside of a
// transaction with an error, so that the statement has changed nothing. The answer
// must be the server's: an error of the connection leaves it open. So do the classes of
// connections (08) and shutdowns (57, but not 57014, a cancelled statement), 40003,
// what MySQL reports of a COMMIT that has failed halfway, and what a proxy of MySQL
// reports of its own connection.
func RefusedStatement(err error) bool {
	if err == nil {
		return false
	}
	if state, ok := stateOf(err); ok {
		if number := reflect.ValueOf(field(err, "Number")); number.Kind() == reflect.Uint16 {
			const unknown, duringCommit, duringRollback = 1105, 1180, 1181
			n := number.Uint()
			if n == unknown || n == duringCommit || n == duringRollback || n >= 2000 && n < 3000 {
				return false
			}
		}
		return len(state) == 5 && state[:2] != "08" && (state[:2] != "57" || state == "57014") && state != "40003"
	}
	switch err := err.(type) {
	case interface{ Unwrap() error }:
		return RefusedStatement(err.Unwrap())
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(err.Unwrap(), RefusedStatement)
	}
	return false
}

// Answered reports that an error is a server's answer. Any other error is one of the
// connection or of the driver.
func Answered(err error) bool {
	if err == nil {
		return false
	}
	if state, ok := stateOf(err); ok {
		return len(state) == 5 && state[:2] != "08" && state[:3] != "57P"
	}
	switch err := err.(type) {
	case interface{ Unwrap() error }:
		return Answered(err.Unwrap())
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(err.Unwrap(), Answered)
	}
	return false
}

// RefusedCommit reports that the database has answered COMMIT, and that nothing was
// committed. Any other error leaves it open: the answer may have been lost.
func RefusedCommit(err error) bool {
	if err == nil {
		return false
	}
	if state, ok := stateOf(err); ok {
		return refusedState(state)
	}
	if code, ok := sqliteCode(err); ok {
		return refusedCode(code)
	}
	if slices.ContainsFunc(rolledBack, func(text string) bool { return strings.EqualFold(text, err.Error()) }) {
		return true
	}
	switch err := err.(type) {
	case interface{ Unwrap() error }:
		return RefusedCommit(err.Unwrap())
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(err.Unwrap(), RefusedCommit)
	}
	return false
}

// refusedState judges a SQLSTATE. The classes are those of a transaction that could
// not be serialised (40), of a constraint that is checked at COMMIT (23), of a
// transaction that had failed before (25), and of what a deferred trigger can raise
// (09, 22, 27, 44, P0). 40003 says that nobody knows. The classes of connections
// (08), shutdowns (57) and of the server's own failures (53, 58, XX) leave it open:
// they can come after the data were committed.
func refusedState(state string) bool {
	if len(state) != 5 || state == "40003" {
		return false
	}
	return slices.Contains([]string{"09", "22", "23", "25", "27", "40", "44", "P0"}, state[:2])
}

// refusedCode judges a result code of SQLite: SQLITE_BUSY, SQLITE_LOCKED and
// SQLITE_CONSTRAINT. The drivers then roll back.
func refusedCode(code int) bool {
	const busy, locked, constraint = 5, 6, 19
	primary := code & 0xff // the rest is the extended code
	return primary == busy || primary == locked || primary == constraint
}

// rolledBack are the errors of pgx and lib/pq for a COMMIT to which PostgreSQL
// answered ROLLBACK, since a statement had failed. They have no SQLSTATE.
var rolledBack = []string{
	"commit unexpectedly resulted in rollback",
	"pq: could not complete operation in a failed transaction",
}

// stateOf returns the SQLSTATE of the error itself. pgx and lib/pq have a method,
// go-sql-driver/mysql has a field.
func stateOf(err error) (string, bool) {
	if e, ok := err.(interface{ SQLState() string }); ok {
		return e.SQLState(), true
	}
	if state, ok := field(err, "SQLState").(([5]byte)); ok {
		return string(state[:]), true
	}
	return "", false
}

// sqliteCode returns the result code of the error itself. modernc.org/sqlite has a
// method, mattn/go-sqlite3 has two fields.
func sqliteCode(err error) (int, bool) {
	if e, ok := err.(interface{ Code() int }); ok && strings.HasPrefix(fmt.Sprintf("%T", err), "*sqlite.") {
		return e.Code(), true
	}
	if field(err, "ExtendedCode") == nil {
		return 0, false
	}
	if code := reflect.ValueOf(field(err, "Code")); code.Kind() == reflect.Int {
		return int(code.Int()), true
	}
	return 0, false
}

// field returns an exported field of an error that is a struct, or points to one;
// nil if there is none.
func field(err error, name string) any {
	v := reflect.Indirect(reflect.ValueOf(err))
	if v.Kind() != reflect.Struct {
		return nil
	}
	if f := v.FieldByName(name); f.IsValid() && f.CanInterface() {
		return f.Interface()
	}
	return nil
}
