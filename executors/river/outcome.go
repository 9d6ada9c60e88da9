package riverexec

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/riverqueue/river"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

// failed returns the outcomes of an insert that failed. It is atomic, so they share
// a fate, unless the database refused some of the rows.
func (e *Executor[TTx]) failed(ctx context.Context, callers bool, at stage, err error, b *batch, intents []core.Intent) []core.Outcome {
	var unknown *river.UnknownJobKindError
	if errors.As(err, &unknown) { // found before anything was sent
		err := fmt.Errorf("airlock: river: the client has workers, and none for task %s "+
			"(see river.Config.SkipUnknownJobCheck): %w: %w", unknown.Kind, core.ErrNoHandler, err)
		out := core.Outcomes(intents, core.NotSent, err)
		for i := range out {
			if intents[i].Task == unknown.Kind {
				out[i].State = core.Rejected
			}
		}
		return out
	}
	if len(b.params) > 1 && at == inserting && dataRefused(err) && ctx.Err() == nil {
		if callers { // whose transaction is of no use any more
			return core.Outcomes(intents, core.NotSent, wrap(err))
		}
		return e.refusedBatch(ctx, err, b, intents)
	}
	state, err := outcomeOf(ctx, at, err)
	return core.Outcomes(intents, state, err)
}

// outcomeOf says what an error of River's client means for the jobs of its call.
// Nothing is stored before COMMIT.
func outcomeOf(ctx context.Context, at stage, err error) (core.State, error) {
	switch {
	case at == committing && !rolledBack(err):
		return core.Unknown, withContext(ctx, err)
	case at == beginning && unreachable(err), unavailable(err):
		return core.NotSent, withContext(ctx, fmt.Errorf("%w: %w", core.ErrUnavailable, err))
	case ctx.Err() != nil, at != inserting:
		return core.NotSent, withContext(ctx, err)
	case dataRefused(err):
		return core.Rejected, invalid(err)
	case errors.Is(err, core.ErrInvalid):
		return core.Rejected, wrap(err)
	}
	return core.NotSent, wrap(err)
}

// wrap makes an error of another library one of ours.
func wrap(err error) error {
	const prefix = "airlock: river: "
	if strings.HasPrefix(err.Error(), prefix) {
		return err
	}
	return fmt.Errorf(prefix+"%w", adapter.Masked(err))
}

func invalid(err error) error { return wrap(fmt.Errorf("%w: %w", core.ErrInvalid, err)) }

// withContext makes sure that the error and the cause of a context that has ended
// are found.
func withContext(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return wrap(err)
	}
	if cause := context.Cause(ctx); !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	if !errors.Is(err, ctx.Err()) {
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return wrap(err)
}

// unreachable reports that no connection came about: the error of a BEGIN is not
// the database's answer to it, or the database refused the connection.
func unreachable(err error) bool {
	var connect *pgconn.ConnectError
	return errors.As(err, &connect) || sqlState(err) == "" && (sqliteCode(err) == 0 || sqliteCode(err) == sqliteCantOpen)
}

// unavailable reports that the server is not available for now: its connection
// broke, or it says so itself.
func unavailable(err error) bool {
	switch state := sqlState(err); {
	case state == "57P01", state == "57P02", state == "57P03", // shut down, crashed, starting
		state == "25006",               // read-only: a standby, or a primary that was demoted
		strings.HasPrefix(state, "53"), // no connection, memory or disk space left
		strings.HasPrefix(state, "08"): // a connection pooler that lost its server
		return true
	case state != "":
		return false
	}
	if code := sqliteCode(err); code != 0 {
		return code == sqliteFull
	}
	return isNetwork(err)
}

// rolledBack reports that a COMMIT was certainly not carried out.
func rolledBack(err error) bool {
	if state := sqlState(err); state != "" {
		switch state[:2] {
		case "57", "58", "08", "XX", "F0": // it was cut off, or is in trouble
			return false
		}
		return true // the server answered, and with an error
	}
	switch sqliteCode(err) {
	case 0:
	case sqliteBusy, sqliteLocked, sqliteFull, sqliteConstraint:
		return true
	default:
		return false
	}
	// The transaction had ended before. That pgconn.SafeToRetry says that nothing was
	// written is no proof: pgx says so too if the reply to COMMIT was lost.
	return errors.Is(err, pgx.ErrTxCommitRollback) || errors.Is(err, sql.ErrTxDone)
}

// dataRefused reports that the database will never take these data.
func dataRefused(err error) bool {
	if state := sqlState(err); state != "" {
		switch state[:2] {
		case "22", "23", "54": // data exception, integrity constraint, program limit
			return true
		}
		return false
	}
	switch sqliteCode(err) {
	case sqliteConstraint, sqliteTooBig:
		return true
	case sqliteError:
		return strings.Contains(err.Error(), "malformed JSON")
	}
	return false
}

// sqlState returns the five characters of PostgreSQL's code, "" if the error is none
// of the server's.
func sqlState(err error) string {
	var server interface{ SQLState() string }
	if errors.As(err, &server) && len(server.SQLState()) == 5 {
		return server.SQLState()
	}
	return ""
}

// Primary result codes of SQLite.
const (
	sqliteError      = 1
	sqliteBusy       = 5
	sqliteLocked     = 6
	sqliteFull       = 13
	sqliteCantOpen   = 14
	sqliteTooBig     = 18
	sqliteConstraint = 19
)

// sqliteCode returns SQLite's primary result code, 0 if the error is none of
// SQLite's. modernc.org/sqlite has a method for it, mattn/go-sqlite3 a field.
func sqliteCode(err error) int {
	var engine interface{ Code() int }
	if errors.As(err, &engine) {
		return engine.Code() & 0xff
	}
	for ; err != nil; err = errors.Unwrap(err) {
		if code, ok := codeField(err); ok {
			return code & 0xff
		}
		if several, ok := err.(interface{ Unwrap() []error }); ok {
			for _, one := range several.Unwrap() {
				if code := sqliteCode(one); code != 0 {
					return code
				}
			}
		}
	}
	return 0
}

// codeField returns the field Code of mattn's sqlite3.Error, which has no method
// that would give it away.
func codeField(err error) (int, bool) {
	v := reflect.Indirect(reflect.ValueOf(err))
	if v.Kind() != reflect.Struct || !strings.HasSuffix(v.Type().PkgPath(), "/go-sqlite3") {
		return 0, false
	}
	code := v.FieldByName("Code")
	if !code.IsValid() || !code.CanInt() {
		return 0, false
	}
	return int(code.Int()), true
}

func isNetwork(err error) bool {
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}
