//go:build realservers

package river_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/conformance/faultproxy"
	"github.com/goairlock/airlock/core"
	riverexec "github.com/goairlock/airlock/executors/river"
)

// faulty is a testEnv whose executor goes through a proxy, with a connection that
// does not.
type faulty struct {
	*testEnv[pgx.Tx]
	proxy  *faultproxy.Proxy
	direct *pgx.Conn
}

func throughProxy(t *testing.T) *faulty {
	t.Helper()
	t.Parallel()
	location, err := url.Parse(shared.server().Database(t))
	must(t, err)
	direct, err := pgx.Connect(t.Context(), location.String())
	must(t, err)
	t.Cleanup(func() { _ = direct.Close(context.Background()) })
	proxy, err := faultproxy.New(location.Host)
	must(t, err)
	t.Cleanup(proxy.Close)
	location.Host = proxy.Addr()
	f := &faulty{setup(t, postgresAt(t, location.String()), nil), proxy, direct}
	f.send(f.intent("0"), f.intent("0")) // what a client does once is done
	return f
}

func (f *faulty) count(query string, args ...any) (n int) {
	f.Helper()
	must(f, f.direct.QueryRow(context.Background(), query, args...).Scan(&n))
	return n
}

func (f *faulty) stored(in core.Intent) int {
	f.Helper()
	return f.count("SELECT count(*) FROM river_job WHERE metadata->'airlock'->>'id' = $1", in.ID)
}

// until waits until the query counts something.
func (f *faulty) until(what, query string) {
	f.Helper()
	now := func() int {
		// In a transaction of ours the first look at pg_stat_activity would be kept.
		_, err := f.direct.Exec(context.Background(), "SELECT pg_stat_clear_snapshot()")
		must(f, err)
		return f.count(query)
	}
	for end := time.Now().Add(patience); now() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			f.Fatalf("never: %s", what)
		}
	}
}

const sleepsInCommit = `SELECT count(*) FROM pg_stat_activity WHERE lower(query) = 'commit' AND wait_event_type = 'Lock' AND datname = current_database()`

// holdCommit makes every COMMIT with a new job wait until release is called.
func (f *faulty) holdCommit() (release func()) {
	f.Helper()
	return f.hold("CREATE CONSTRAINT TRIGGER hold AFTER INSERT ON river_job DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold()")
}

// holdInsert makes every insert of a job wait until release is called.
func (f *faulty) holdInsert() (release func()) {
	f.Helper()
	return f.hold("CREATE TRIGGER hold BEFORE INSERT ON river_job FOR EACH ROW EXECUTE FUNCTION hold()")
}

func (f *faulty) hold(trigger string) (release func()) {
	f.Helper()
	for _, statement := range []string{
		`CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NEW; END $$`,
		trigger,
		`SELECT pg_advisory_lock(7)`,
	} {
		_, err := f.direct.Exec(f.Context(), statement)
		must(f, err)
	}
	return func() {
		_, err := f.direct.Exec(context.Background(), "SELECT pg_advisory_unlock(7)")
		must(f, err)
	}
}

// start dispatches in a goroutine; the function it returns waits for the answer.
func start(ctx context.Context, exec core.Executor, intents ...core.Intent) (answer func() error) {
	done := make(chan error, 1)
	go func() { done <- exec(ctx, intents...) }()
	return func() error { return <-done }
}

func (f *faulty) wantAll(err error, want core.State, intents ...core.Intent) {
	f.Helper()
	for _, o := range core.OutcomesOf(err, intents) {
		if o.State != want {
			f.Errorf("outcome %v: %v, want %v", o.State, o.Err, want)
		}
	}
}

func TestALostReplyToCommitIsUnknownAndSentAgainIsOneJob(t *testing.T) {
	for _, end := range []string{"reset", "cancel"} {
		t.Run(end, func(t *testing.T) {
			f := throughProxy(t)
			release := f.holdCommit()
			generated, chosen, key := f.intent("1"), f.intent("2", core.ID("chosen")), f.intent("3", core.Unique("key"))
			ctx, cancel := context.WithCancel(f.Context())
			defer cancel()
			answer := start(ctx, f.exec.Execute, generated, chosen, key)
			f.until("a COMMIT that waits", sleepsInCommit)
			f.proxy.LoseReplies()
			release()
			f.until("the COMMIT's effect", "SELECT count(*) FROM river_job WHERE metadata->'airlock'->>'id' = 'chosen'")
			var want error = core.ErrUnknownOutcome
			if end == "reset" {
				f.proxy.Reset()
			} else {
				must(f, f.proxy.WaitFor(f.Context(), func(s faultproxy.Stats) bool { return s.LostReplyBytes > 0 }))
				cancel()
				want = context.Canceled
			}
			err := answer()
			wantIs(f, err, want)
			wantIs(f, err, core.ErrUnknownOutcome)
			f.wantAll(err, core.Unknown, generated, chosen, key)
			must(f, f.proxy.Heal())

			// First alone, and then as a caller who does not know what happened.
			must(f, compose.WithRetry(f.exec.Execute, compose.Retry{})(f.Context(), generated))
			f.wantStates(f.states(f.exec.Execute, generated, chosen, key), core.Accepted, core.Duplicate, core.Duplicate)
			for _, in := range []core.Intent{generated, chosen, key} {
				if n := f.stored(in); n != 1 {
					f.Errorf("%v is stored %d times", in, n)
				}
			}
		})
	}
}

func TestRetryAfterALostReplyToCommitEndsInAccepted(t *testing.T) {
	f := throughProxy(t)
	release := f.holdCommit()
	intents := []core.Intent{f.intent("1"), f.intent("2", core.ID("chosen")), f.intent("3", core.Unique("key"))}
	retried := make(chan error, 10)
	exec := compose.WithRetry(f.exec.Execute, compose.Retry{Attempts: 10, OnRetry: func(_ context.Context, _ int, _ time.Duration, err error) {
		retried <- err
		_ = f.proxy.Heal()
	}})
	answer := start(f.Context(), exec, intents...)
	f.until("a COMMIT that waits", sleepsInCommit)
	f.proxy.LoseReplies()
	release()
	f.until("the COMMIT's effect", "SELECT count(*) FROM river_job WHERE metadata->'airlock'->>'id' = 'chosen'")
	f.proxy.Reset()
	must(f, answer())
	wantIs(f, <-retried, core.ErrUnknownOutcome)
	for _, in := range intents {
		if n := f.stored(in); n != 1 {
			f.Errorf("%v is stored %d times", in, n)
		}
	}
}

func TestAServerThatIsDownIsUnavailableAndComesBack(t *testing.T) {
	f := throughProxy(t)
	f.proxy.Down()
	in := f.intent("1")
	// An idle connection of the pool may have to be found broken first.
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if err = f.exec.Execute(f.Context(), in); errors.Is(err, core.ErrUnavailable) {
			break
		}
		if err == nil {
			f.Fatal("accepted by a server that is down")
		}
	}
	wantIs(f, err, core.ErrUnavailable)
	var dial *net.OpError
	if !errors.As(err, &dial) {
		f.Errorf("the connection's own error is not reachable: %v", err)
	}
	f.wantAll(err, core.NotSent, in)
	must(f, f.proxy.Up())
	f.send(in)
	if n := f.stored(in); n != 1 {
		f.Errorf("stored %d times", n)
	}
}

func TestAConnectionThatTheServerEndedCostsNoJob(t *testing.T) {
	f := throughProxy(t)
	_, err := f.direct.Exec(f.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()")
	must(f, err)
	in := f.intent("1")
	if err := f.exec.Execute(f.Context(), in); err != nil {
		f.wantAll(err, core.NotSent, in)
		if n := f.stored(in); n != 0 {
			f.Errorf("stored %d times", n)
		}
		f.send(in)
	}
	if n := f.stored(in); n != 1 {
		f.Errorf("stored %d times", n)
	}
}

func TestABlockedInsertHonoursItsContext(t *testing.T) {
	f := throughProxy(t)
	lock, err := f.direct.Begin(f.Context())
	must(f, err)
	_, err = lock.Exec(f.Context(), "LOCK TABLE river_job")
	must(f, err)
	ctx, cancel := context.WithCancelCause(f.Context())
	in := f.intent("1")
	answer := start(ctx, f.exec.Execute, in)
	f.until("an insert that waits", `SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%INSERT INTO%river_job%' AND wait_event_type = 'Lock' AND datname = current_database()`)
	errHungUp := errors.New("the client hung up")
	cancel(errHungUp)
	err = answer()
	wantIs(f, err, context.Canceled)
	wantIs(f, err, errHungUp)
	f.wantAll(err, core.NotSent, in) // no COMMIT has been sent
	must(f, lock.Rollback(f.Context()))
	f.until("the insert is given up", `SELECT 1 - count(*) FROM pg_stat_activity WHERE query LIKE '%INSERT INTO%river_job%' AND state = 'active' AND pid <> pg_backend_pid() AND datname = current_database()`)
	if n := f.stored(in); n != 0 {
		f.Errorf("stored %d times", n)
	}
}

func TestABatchCutAnywhereTellsTheTruth(t *testing.T) {
	f := throughProxy(t)
	intents := make([]core.Intent, 200)
	for i := range intents {
		intents[i] = f.intent(fmt.Sprintf(`{"n":%d}`, i))
	}
	before := f.proxy.Stats().RequestBytes
	f.send(intents...)
	size := f.proxy.Stats().RequestBytes - before
	bit := 0
	for cut := range 12 {
		for i := range intents {
			intents[i] = f.intent(fmt.Sprintf(`{"cut":%d,"n":%d}`, cut, i))
		}
		f.send(f.intent("0")) // a connection that works
		f.proxy.CutAfter(1 + size*int64(cut)/10)
		err := f.exec.Execute(f.Context(), intents...)
		must(f, f.proxy.Heal())
		if err != nil {
			bit++
		}
		for i, o := range core.OutcomesOf(err, intents) {
			n := f.stored(intents[i])
			if n > 1 || o.State == core.Accepted && n != 1 || o.State == core.NotSent && n != 0 ||
				o.State != core.Accepted && o.State != core.NotSent && o.State != core.Unknown {
				f.Fatalf("cut %d: intent %d is %v and stored %d times: %v", cut, i, o.State, n, o.Err)
			}
		}
		must(f, compose.WithRetry(f.exec.Execute, compose.Retry{})(f.Context(), intents...))
		if n := f.count("SELECT count(*) FROM river_job WHERE args->>'cut' = $1", fmt.Sprint(cut)); n != len(intents) {
			f.Fatalf("cut %d: %d jobs of %d are stored", cut, n, len(intents))
		}
	}
	if bit == 0 {
		f.Error("no cut broke a call")
	}
}

func TestDeadlockedBatchesAreNotSentAndGoThroughOnRetry(t *testing.T) {
	f := throughProxy(t)
	a, b := f.intent("1", core.Unique("a")), f.intent("2", core.Unique("b"))
	// Another session inserts b and then waits for a, as our call does the other way round.
	tx, err := f.store.begin(f.Context())
	must(f, err)
	exec := riverexec.InTx(f.exec, tx)
	must(f, exec(f.Context(), b))
	answer := start(f.Context(), f.exec.Execute, a, b)
	f.until("an insert that waits", `SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%INSERT INTO%river_job%' AND wait_event_type = 'Lock' AND datname = current_database()`)
	err = exec(f.Context(), a)
	if err != nil {
		f.wantAll(err, core.NotSent, a)
	}
	must(f, f.store.rollback(f.Context(), tx))
	other := answer()
	if (err == nil) == (other == nil) {
		f.Fatalf("want one of the two to be refused: %v, %v", err, other)
	}
	var server *pgconn.PgError
	if failed := errors.Join(err, other); !errors.As(failed, &server) || server.Code != "40P01" {
		f.Errorf("want the server's own error: %v", failed)
	}
	if other != nil {
		f.wantAll(other, core.NotSent, a, b)
		f.send(a, b)
	}
}
