package riverexec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/riverqueue/river"

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
	begin := func(err error) error { return fmt.Errorf("error beginning transaction: %w", err) }
	commit := func(err error) error { return fmt.Errorf("error committing transaction: %w", err) }
	for _, tc := range []struct {
		err  error
		want core.State
		is   error
	}{
		{begin(dial), core.NotSent, core.ErrUnavailable},
		{begin(pgError("57P03")), core.NotSent, core.ErrUnavailable},
		{begin(pgError("53300")), core.NotSent, core.ErrUnavailable},
		{begin(unwritten{&net.OpError{Op: "write", Err: errors.New("reset")}}), core.NotSent, core.ErrUnavailable},
		{begin(unwritten{errors.New("a lock of the driver's")}), core.NotSent, nil},
		{begin(errors.New("closed pool")), core.NotSent, nil},
		{begin(read), core.Unknown, nil},
		{begin(io.ErrUnexpectedEOF), core.Unknown, nil},
		{begin(unwritten{io.EOF}), core.NotSent, core.ErrUnavailable},
		{pgError("22P05"), core.Rejected, core.ErrInvalid},
		{pgError("23514"), core.Rejected, core.ErrInvalid},
		{pgError("40P01"), core.NotSent, nil},
		{pgError("42P01"), core.NotSent, nil},
		{pgError("57P01"), core.NotSent, core.ErrUnavailable},
		{read, core.Unknown, nil},
		{errors.New("somebody's hook"), core.Unknown, nil},
		{commit(pgError("40001")), core.NotSent, nil},
		{commit(pgError("23505")), core.NotSent, nil},
		{commit(pgError("57P01")), core.Unknown, nil},
		{commit(unwritten{errors.New("conn closed")}), core.Unknown, nil},
		{commit(io.EOF), core.Unknown, nil},
		{sqliteFailure(1), core.Rejected, core.ErrInvalid},
		{sqliteFailure(275), core.Rejected, core.ErrInvalid}, // a constraint, extended code
		{sqliteFailure(5), core.NotSent, nil},
		{commit(sqliteFailure(5)), core.NotSent, nil},
		{commit(sqliteFailure(10)), core.Unknown, nil},
	} {
		state, err := judge(t.Context(), tc.err)
		if state != tc.want || !errors.Is(err, tc.err) || tc.is != nil && !errors.Is(err, tc.is) {
			t.Errorf("%v is %v (%v), want %v", tc.err, state, err, tc.want)
		}
	}
}

func TestAnEndedContextIsUnknownWithItsCause(t *testing.T) {
	t.Parallel()
	hungUp := errors.New("hung up")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(hungUp)
	below := errors.New("the driver's words")
	state, err := judge(ctx, below)
	if state != core.Unknown || !errors.Is(err, context.Canceled) || !errors.Is(err, hungUp) || !errors.Is(err, below) {
		t.Errorf("%v: %v", state, err)
	}
}

func TestBadInputIsToldAndNeverAPanic(t *testing.T) {
	t.Parallel()
	_, err := New[any](nil, nil)
	registry, regErr := core.NewRegistry()
	if regErr != nil {
		t.Fatal(regErr)
	}
	for name, err := range map[string]error{
		"nil client":   err,
		"nil config":   Configure(nil),
		"nil workers":  AddWorkers(nil, registry),
		"nil registry": AddWorkers(river.NewWorkers(), nil),
		"nil executor": InTx[any](nil, 1)(t.Context(), intent(t, "1")),
	} {
		if !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	config := &river.Config{}
	for range 2 {
		if err := Configure(config); err != nil || len(config.Hooks) != 1 {
			t.Errorf("%v, %d hooks", err, len(config.Hooks))
		}
	}
}
