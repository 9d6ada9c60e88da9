package airlocksql_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/airlocksql"
	"github.com/goairlock/airlock/core"
)

// scripted is a database driver that logs its calls and fails on request. Real
// databases are in the integration module.
type scripted struct {
	mu       sync.Mutex
	log      []string // guarded by mu
	begin    error
	commit   error
	rollback error
}

func (s *scripted) note(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, what)
}

func (s *scripted) took() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.log, " ")
}

func (s *scripted) Connect(context.Context) (driver.Conn, error) { return conn{s}, nil }
func (s *scripted) Driver() driver.Driver                        { return nil }

type conn struct{ s *scripted }

func (c conn) Prepare(string) (driver.Stmt, error) { return nil, errors.New("no statements here") }
func (c conn) Close() error                        { return nil }
func (c conn) Begin() (driver.Tx, error)           { return nil, errors.New("use BeginTx") }
func (c conn) BeginTx(context.Context, driver.TxOptions) (driver.Tx, error) {
	c.s.note("begin")
	return tx(c), c.s.begin
}

type tx struct{ s *scripted }

func (t tx) Commit() error   { t.s.note("commit"); return t.s.commit }
func (t tx) Rollback() error { t.s.note("rollback"); return t.s.rollback }

var task = core.DeclareTask[string]("test.task")

// setup returns a scripted database and an executor that writes to the same log and
// takes no option.
func setup(t *testing.T) (*scripted, *sql.DB, core.Executor) {
	t.Helper()
	s := new(scripted)
	db := sql.OpenDB(s)
	t.Cleanup(func() { db.Close() })
	return s, db, guarded(func(_ context.Context, intents ...core.Intent) error {
		s.note(fmt.Sprintf("send(%d)", len(intents)))
		return nil
	})
}

// guarded makes an executor of exec that can be asked.
func guarded(exec core.Executor) core.Executor {
	return adapter.Guard(core.Capabilities{Executor: "small"}, exec)
}

func enqueueOne(ctx context.Context, _ *sql.Tx) error { return airlock.Enqueue(ctx, task, "a") }

func TestJobsLeaveAfterTheCommit(t *testing.T) {
	t.Parallel()
	s, db, exec := setup(t)
	if err := airlocksql.RunTx(t.Context(), db, nil, exec, enqueueOne); err != nil {
		t.Fatal(err)
	}
	if got := s.took(); got != "begin commit send(1)" {
		t.Errorf("took %s", got)
	}
}

func TestAFailureRollsBackAndSendsNothing(t *testing.T) {
	t.Parallel()
	s, db, exec := setup(t)
	failure := errors.New("fn failed")
	err := airlocksql.RunTx(t.Context(), db, nil, exec, func(ctx context.Context, tx *sql.Tx) error {
		return errors.Join(enqueueOne(ctx, tx), failure)
	})
	if !errors.Is(err, failure) {
		t.Errorf("error %v", err)
	}
	if got := s.took(); got != "begin rollback" {
		t.Errorf("took %s", got)
	}
	err = airlocksql.RunTx(t.Context(), db, nil, exec, func(context.Context, *sql.Tx) error { return failure })
	if err != failure {
		t.Errorf("error %v, want fn's own", err)
	}
}

func TestAGoexitRollsBack(t *testing.T) {
	t.Parallel()
	s, db, exec := setup(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		airlocksql.RunTx(t.Context(), db, nil, exec, func(ctx context.Context, tx *sql.Tx) error { // it does not return
			if err := enqueueOne(ctx, tx); err != nil {
				t.Error(err)
			}
			runtime.Goexit()
			return nil
		})
	}()
	<-done
	if got := s.took(); got != "begin rollback" {
		t.Errorf("took %s", got)
	}
}

// An executor that writes to the same database must not wait for the connection
// of the transaction that it flushes.
func TestTheConnectionIsFreeWhenTheJobsLeave(t *testing.T) {
	t.Parallel()
	s, db, exec := setup(t)
	db.SetMaxOpenConns(1)
	outbox := guarded(func(ctx context.Context, intents ...core.Intent) error {
		return airlocksql.RunTx(ctx, db, nil, exec, func(ctx context.Context, _ *sql.Tx) error {
			return airlock.Add(ctx, intents...)
		})
	})
	if err := airlocksql.RunTx(t.Context(), db, nil, outbox, enqueueOne); err != nil {
		t.Fatal(err)
	}
	if got := s.took(); got != "begin commit begin commit send(1)" {
		t.Errorf("took %s", got)
	}
}

func TestTheOutermostTransactionDecides(t *testing.T) {
	t.Parallel()
	failure := errors.New("the outer one failed")
	for name, tc := range map[string]struct {
		opts []airlock.Option
		want string
	}{
		"joined":      {nil, "begin begin commit rollback"},
		"independent": {[]airlock.Option{airlock.Independent()}, "begin begin commit send(1) rollback"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, db, exec := setup(t)
			err := airlocksql.RunTx(t.Context(), db, nil, exec, func(ctx context.Context, _ *sql.Tx) error {
				if err := airlocksql.RunTx(ctx, db, nil, exec, enqueueOne, tc.opts...); err != nil {
					t.Error(err)
				}
				return failure
			})
			if got := s.took(); !errors.Is(err, failure) || got != tc.want {
				t.Errorf("took %s: %v", got, err)
			}
		})
	}
}

// The order of events was: begin, send, roll back.
func TestAScopeInsideATransactionSendsNothingBeforeTheCommit(t *testing.T) {
	t.Parallel()
	failure := errors.New("fn failed")
	for _, want := range []error{nil, failure} {
		s, db, exec := setup(t)
		err := airlocksql.RunTx(t.Context(), db, nil, exec, func(ctx context.Context, tx *sql.Tx) error {
			err := airlock.Run(ctx, exec, func(ctx context.Context) error { return enqueueOne(ctx, tx) })
			return errors.Join(err, want)
		})
		took := "begin commit send(1)"
		if want != nil {
			took = "begin rollback"
		}
		if got := s.took(); !errors.Is(err, want) || got != took {
			t.Errorf("took %s: %v", got, err)
		}
	}
}

// All three jobs were refused after the order had been committed.
func TestWhatTheExecutorWouldRefuseRollsBack(t *testing.T) {
	t.Parallel()
	s, db, exec := setup(t)
	err := airlocksql.RunTx(t.Context(), db, nil, exec, func(ctx context.Context, _ *sql.Tx) error {
		return airlock.Enqueue(ctx, task, "a", core.Priority(9))
	})
	if got := s.took(); !errors.Is(err, core.ErrUnsupported) || got != "begin rollback" {
		t.Errorf("took %s: %v", got, err)
	}
}

func TestARollbackThatFailsIsReported(t *testing.T) {
	t.Parallel()
	s, db, exec := setup(t)
	s.rollback = errors.New("rollback failed")
	failure := errors.New("fn failed")
	err := airlocksql.RunTx(t.Context(), db, nil, exec, func(context.Context, *sql.Tx) error { return failure })
	if !errors.Is(err, failure) || !errors.Is(err, s.rollback) {
		t.Errorf("error %v, want both", err)
	}
}

func TestAPanicRollsBackAndGoesOn(t *testing.T) {
	t.Parallel()
	s, db, exec := setup(t)
	func() {
		defer func() {
			if v := recover(); v != "boom" {
				t.Errorf("recovered %v", v)
			}
		}()
		airlocksql.RunTx(t.Context(), db, nil, exec, func(ctx context.Context, tx *sql.Tx) error { // it panics
			if err := enqueueOne(ctx, tx); err != nil {
				t.Error(err)
			}
			panic("boom")
		})
	}()
	if got := s.took(); got != "begin rollback" {
		t.Errorf("took %s", got)
	}
}

func TestAfterACommitWithoutAnAnswerNothingIsSent(t *testing.T) {
	t.Parallel()
	s, db, exec := setup(t)
	s.commit = io.ErrUnexpectedEOF
	err := airlocksql.RunTx(t.Context(), db, nil, exec, enqueueOne)
	var ce *airlocksql.CommitError
	if !errors.As(err, &ce) || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("error %v, want a CommitError", err)
	}
	if len(ce.Intents) != 1 || ce.Intents[0].Task != "test.task" {
		t.Errorf("intents %v", ce.Intents)
	}
	if strings.Contains(s.took(), "send") {
		t.Errorf("took %s", s.took())
	}
}

func TestAnFnThatEndsTheTransactionItselfIsReported(t *testing.T) {
	t.Parallel()
	s, db, exec := setup(t)
	err := airlocksql.RunTx(t.Context(), db, nil, exec, func(ctx context.Context, tx *sql.Tx) error {
		return errors.Join(enqueueOne(ctx, tx), tx.Commit())
	})
	var ce *airlocksql.CommitError
	if !errors.As(err, &ce) || !errors.Is(err, sql.ErrTxDone) || len(ce.Intents) != 1 {
		t.Errorf("error %v, want a CommitError with the intent", err)
	}
	if got := s.took(); got != "begin commit" {
		t.Errorf("took %s", got)
	}
}

func TestAContextThatEndsInFnIsNotCommitted(t *testing.T) {
	t.Parallel()
	s, db, exec := setup(t)
	stopped := errors.New("server stops")
	ctx, cancel := context.WithCancelCause(t.Context())
	err := airlocksql.RunTx(ctx, db, nil, exec, func(ctx context.Context, tx *sql.Tx) error {
		err := enqueueOne(ctx, tx)
		cancel(stopped)
		return err
	})
	if !errors.Is(err, context.Canceled) || !errors.Is(err, stopped) {
		t.Errorf("error %v", err)
	}
	if took := strings.Fields(s.took()); slices.Contains(took, "commit") || slices.Contains(took, "send(1)") {
		t.Errorf("took %s", s.took())
	}
}

// lastMoment cancels when the transaction commits: after the decision, before
// the flush.
type lastMoment struct {
	scripted
	cancel context.CancelFunc
}

func (l *lastMoment) Connect(context.Context) (driver.Conn, error) { return lastMomentConn{l}, nil }

type lastMomentConn struct{ *lastMoment }

func (c lastMomentConn) Prepare(string) (driver.Stmt, error) { return nil, errors.New("none") }
func (c lastMomentConn) Close() error                        { return nil }
func (c lastMomentConn) Begin() (driver.Tx, error)           { return lastMomentTx(c), nil }

type lastMomentTx struct{ *lastMoment }

func (t lastMomentTx) Commit() error   { t.cancel(); return nil }
func (t lastMomentTx) Rollback() error { return nil }

func TestTheFlushIsNotCutByAContextThatEndsAfterTheCommit(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	db := sql.OpenDB(&lastMoment{cancel: cancel})
	defer db.Close()
	sent := false
	exec := guarded(func(ctx context.Context, _ ...core.Intent) error {
		sent = true
		if _, limited := ctx.Deadline(); !limited || ctx.Err() != nil {
			t.Errorf("limited %v, error %v", limited, ctx.Err())
		}
		return nil
	})
	if err := airlocksql.RunTx(ctx, db, nil, exec, enqueueOne); err != nil || ctx.Err() == nil || !sent {
		t.Errorf("error %v, context %v, sent %v", err, ctx.Err(), sent)
	}
}

func TestAFailedFlushIsReportedAfterTheCommit(t *testing.T) {
	t.Parallel()
	s, db, _ := setup(t)
	down := func(context.Context, ...core.Intent) error { return core.ErrUnavailable }
	err := airlocksql.RunTx(t.Context(), db, nil, down, enqueueOne)
	var fe *airlock.FlushError
	if !errors.As(err, &fe) || len(fe.Undelivered) != 1 || s.took() != "begin commit" {
		t.Errorf("error %v after %s", err, s.took())
	}
}

func TestInAnotherScopeTheJobsWaitForItsEnd(t *testing.T) {
	t.Parallel()
	s, db, exec := setup(t)
	err := airlock.Run(t.Context(), exec, func(ctx context.Context) error {
		err := airlocksql.RunTx(ctx, db, nil, exec, enqueueOne)
		s.note("outer")
		return err
	})
	if got := s.took(); err != nil || got != "begin commit outer send(1)" {
		t.Errorf("took %s: %v", got, err)
	}
}

func TestBadInputIsRefused(t *testing.T) {
	t.Parallel()
	s, db, exec := setup(t)
	var noContext context.Context
	for name, err := range map[string]error{
		"database":  airlocksql.RunTx(t.Context(), nil, nil, exec, enqueueOne),
		"*sql.DB":   airlocksql.RunTx(t.Context(), (*sql.DB)(nil), nil, exec, enqueueOne),
		"*sql.Conn": airlocksql.RunTx(t.Context(), (*sql.Conn)(nil), nil, exec, enqueueOne),
		"function":  airlocksql.RunTx(t.Context(), db, nil, exec, nil),
		"context":   airlocksql.RunTx(noContext, db, nil, exec, enqueueOne),
	} {
		if !errors.Is(err, core.ErrInvalid) {
			t.Errorf("nil %s: %v", name, err)
		}
	}
	if err := airlocksql.RunTx(t.Context(), db, nil, nil, enqueueOne); !errors.Is(err, airlock.ErrNoScope) {
		t.Errorf("nil executor: %v", err)
	}
	if err := airlocksql.RunTx(t.Context(), db, nil, adapter.Guard(core.Capabilities{}, nil), enqueueOne); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("wrapper around nil: %v", err)
	}
	if got := s.took(); got != "" {
		t.Errorf("took %s", got)
	}
	s.begin = errors.New("cannot reach postgres://shop:secret@db:5432")
	if err := airlocksql.RunTx(t.Context(), db, nil, exec, enqueueOne); !errors.Is(err, s.begin) {
		t.Errorf("begin: %v", err)
	} else if strings.Contains(err.Error(), "secret") {
		t.Errorf("the error shows a credential: %v", err)
	}
}
