package riverexec

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/goairlock/airlock/core"
)

// pgError and sqliteFailure are what the drivers' errors can be asked.
type pgError string

func (e pgError) Error() string    { return "server: " + string(e) }
func (e pgError) SQLState() string { return string(e) }

type sqliteFailure int

func (e sqliteFailure) Error() string { return "engine: malformed JSON" }
func (e sqliteFailure) Code() int     { return int(e) }

type unwritten struct{ error }

func (u unwritten) Unwrap() error   { return u.error }
func (unwritten) SafeToRetry() bool { return true }

func TestErrorsAreTheStatesTheyMean(t *testing.T) {
	t.Parallel()
	dial := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	read := &net.OpError{Op: "read", Err: errors.New("reset")}
	noHost := fmt.Errorf("resolving: %w", &net.DNSError{Err: "no such host"})
	for _, tc := range []struct {
		at   stage
		err  error
		want core.State
		is   error
	}{
		// Whatever keeps a connection from coming about.
		{beginning, dial, core.NotSent, core.ErrUnavailable},
		{beginning, noHost, core.NotSent, core.ErrUnavailable},
		{beginning, &pgconn.ConnectError{}, core.NotSent, core.ErrUnavailable},
		{beginning, errors.New("tls: handshake failure"), core.NotSent, core.ErrUnavailable},
		{beginning, errors.New("somebody's circuit breaker is open"), core.NotSent, core.ErrUnavailable},
		{beginning, errors.New("closed pool"), core.NotSent, core.ErrUnavailable},
		{beginning, read, core.NotSent, core.ErrUnavailable},
		{beginning, io.ErrUnexpectedEOF, core.NotSent, core.ErrUnavailable},
		{beginning, unwritten{io.EOF}, core.NotSent, core.ErrUnavailable},
		{beginning, pgError("57P03"), core.NotSent, core.ErrUnavailable},
		{beginning, pgError("53300"), core.NotSent, core.ErrUnavailable},
		{beginning, pgError("08P01"), core.NotSent, core.ErrUnavailable},
		{beginning, pgError("25001"), core.NotSent, nil},
		{beginning, sqliteFailure(14), core.NotSent, core.ErrUnavailable},
		{beginning, sqliteFailure(5), core.NotSent, nil},
		// Nothing is stored without a COMMIT.
		{inserting, pgError("22P05"), core.Rejected, core.ErrInvalid},
		{inserting, pgError("23514"), core.Rejected, core.ErrInvalid},
		{inserting, pgError("40P01"), core.NotSent, nil},
		{inserting, pgError("42P01"), core.NotSent, nil},
		{inserting, pgError("53100"), core.NotSent, core.ErrUnavailable},
		{inserting, pgError("25006"), core.NotSent, core.ErrUnavailable},
		{inserting, pgError("57P01"), core.NotSent, core.ErrUnavailable},
		{inserting, read, core.NotSent, core.ErrUnavailable},
		{inserting, errors.New("somebody's hook"), core.NotSent, nil},
		{inserting, fmt.Errorf("somebody's hook: %w", core.ErrInvalid), core.Rejected, core.ErrInvalid},
		{inserting, sqliteFailure(1), core.Rejected, core.ErrInvalid},
		{inserting, sqliteFailure(275), core.Rejected, core.ErrInvalid}, // a constraint, extended code
		{inserting, sqliteFailure(5), core.NotSent, nil},
		{inserting, sqliteFailure(13), core.NotSent, core.ErrUnavailable},
		// A COMMIT that was refused, or never written, and one without an answer.
		{committing, pgError("40001"), core.NotSent, nil},
		{committing, pgError("23505"), core.NotSent, nil},
		{committing, pgError("P0001"), core.NotSent, nil},
		{committing, pgError("53100"), core.NotSent, core.ErrUnavailable},
		{committing, pgx.ErrTxCommitRollback, core.NotSent, nil},
		{committing, sql.ErrTxDone, core.NotSent, nil},
		{committing, unwritten{errors.New("conn closed")}, core.Unknown, nil},
		{committing, pgError("57P01"), core.Unknown, nil},
		{committing, pgError("XX000"), core.Unknown, nil},
		{committing, io.EOF, core.Unknown, nil},
		{committing, sqliteFailure(5), core.NotSent, nil},
		{committing, sqliteFailure(10), core.Unknown, nil},
	} {
		state, err := outcomeOf(t.Context(), tc.at, tc.err)
		if state != tc.want || !errors.Is(err, tc.err) || tc.is != nil && !errors.Is(err, tc.is) ||
			tc.is == nil && errors.Is(err, core.ErrUnavailable) {
			t.Errorf("at %d, %v is %v (%v), want %v", tc.at, tc.err, state, err, tc.want)
		}
		if !strings.HasPrefix(err.Error(), "airlock: river: ") || strings.Count(err.Error(), "airlock: river: ") != 1 {
			t.Errorf("the text has not one prefix: %v", err)
		}
	}
}

func TestAnEndedContextIsUnknownDuringCommitAloneAndItsCauseIsFound(t *testing.T) {
	t.Parallel()
	hungUp := errors.New("hung up")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(hungUp)
	below := errors.New("the driver's words")
	for at, want := range map[stage]core.State{beginning: core.NotSent, inserting: core.NotSent, committing: core.Unknown} {
		state, err := outcomeOf(ctx, at, below)
		if state != want || !errors.Is(err, context.Canceled) || !errors.Is(err, hungUp) || !errors.Is(err, below) {
			t.Errorf("at %d: %v: %v, want %v", at, state, err, want)
		}
		if errors.Is(err, core.ErrUnavailable) != (at == beginning) {
			t.Errorf("at %d: %v", at, err)
		}
	}
}

func TestNoErrorShowsACredential(t *testing.T) {
	t.Parallel()
	secret := errors.New("cannot parse postgres://app:hunter2@db:port/x")
	for _, at := range []stage{beginning, inserting, committing} {
		_, err := outcomeOf(t.Context(), at, secret)
		if strings.Contains(err.Error(), "hunter2") || !errors.Is(err, secret) {
			t.Errorf("at %d: %v", at, err)
		}
	}
}
