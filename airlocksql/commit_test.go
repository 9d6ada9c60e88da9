package airlocksql_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/goairlock/airlock/airlocksql"
)

// Errors in the form of those that drivers return. Real drivers are in the
// integration module.
type (
	pgError    struct{ code string } // pgx and lib/pq
	mysqlError struct {              // go-sql-driver/mysql
		Number   uint16
		SQLState [5]byte
		Message  string
	}
	mattnError struct { // mattn/go-sqlite3
		Code         mattnCode
		ExtendedCode mattnExtended
		text         string
	}
	mattnCode     int
	mattnExtended int
	otherError    struct{ Code int }
)

func (e *pgError) Error() string    { return "ERROR: " + e.code }
func (e *pgError) SQLState() string { return e.code }
func (e *mysqlError) Error() string {
	return fmt.Sprintf("Error %d (%s): %s", e.Number, e.SQLState, e.Message)
}
func (e mattnError) Error() string  { return e.text }
func (e *otherError) Error() string { return "other" }

func mysql(number uint16, state string) error {
	return &mysqlError{Number: number, SQLState: [5]byte([]byte(state)), Message: "deadlock"}
}

func TestACommitThatTheDatabaseRefusedIsAFailedCommit(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"serialization failure":      &pgError{"40001"},
		"deadlock":                   &pgError{"40P01"},
		"deferred foreign key":       &pgError{"23503"},
		"deferred unique constraint": &pgError{"23505"},
		"deferred trigger":           &pgError{"P0001"},
		"failed transaction":         &pgError{"25P02"},
		"wrapped":                    fmt.Errorf("gorm: %w", &pgError{"40001"}),
		"joined":                     errors.Join(errors.New("hook"), &pgError{"40001"}),
		"pgx: rolled back":           errors.New("commit unexpectedly resulted in rollback"),
		"lib/pq: rolled back":        errors.New("pq: Could not complete operation in a failed transaction"),
		"lib/pq: rolled back, in a later version": errors.New("pq: could not complete operation in a failed transaction"),
		"MySQL: Galera":            mysql(1213, "40001"),
		"MySQL: group replication": mysql(3101, "40000"),
		"mattn: busy":              mattnError{Code: 5, text: "database is locked"},
		"mattn: foreign key":       mattnError{Code: 19, ExtendedCode: 787, text: "FOREIGN KEY constraint failed"},
		"mattn: pointer":           &mattnError{Code: 19},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, db, exec := setup(t)
			s.commit = err
			got := airlocksql.RunTx(t.Context(), db, nil, exec, enqueueOne)
			var unknown *airlocksql.CommitError
			if !errors.Is(got, err) || errors.As(got, &unknown) || !strings.Contains(got.Error(), "refused COMMIT") {
				t.Errorf("error %v", got)
			}
			if took := s.took(); took != "begin commit" {
				t.Errorf("took %s", took)
			}
		})
	}
}

func TestAnyOtherErrorOfCommitLeavesItsFateOpen(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"broken connection":           io.ErrUnexpectedEOF,
		"bad connection":              driver.ErrBadConn,
		"context":                     context.DeadlineExceeded,
		"completion unknown":          &pgError{"40003"},
		"connection exception":        &pgError{"08006"},
		"shutdown":                    &pgError{"57P01"},
		"disk full":                   &pgError{"53100"},
		"internal error":              &pgError{"XX000"},
		"no state":                    &pgError{""},
		"MySQL: error during COMMIT":  mysql(1180, "HY000"),
		"mattn: I/O error":            mattnError{Code: 10, ExtendedCode: 10},
		"another error with a code":   &otherError{19},
		"text that mentions rollback": errors.New("rollback of commit unexpectedly failed"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, db, exec := setup(t)
			s.commit = err
			got := airlocksql.RunTx(t.Context(), db, nil, exec, enqueueOne)
			var unknown *airlocksql.CommitError
			if !errors.As(got, &unknown) || !errors.Is(got, err) || len(unknown.Intents) != 1 {
				t.Errorf("error %v, want a CommitError with the intent", got)
			}
			if strings.Contains(s.took(), "send") {
				t.Errorf("took %s", s.took())
			}
		})
	}
}
