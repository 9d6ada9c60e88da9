//go:build realservers

package river_test

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
	riverexec "github.com/goairlock/airlock/executors/river"
	"github.com/goairlock/airlock/integration/servers"
)

// executorAt makes an executor on a pool that has not connected yet.
func executorAt(t *testing.T, location string, set ...func(*pgxpool.Config)) (*riverexec.Executor[pgx.Tx], *pgxpool.Pool) {
	t.Helper()
	pool := openPool(t, location, set...)
	exec, err := riverexec.New(insertOnly(t, riverpgxv5.New(pool), ""), nil)
	must(t, err)
	return exec, pool
}

// silent is a server that takes connections and says nothing.
func silent(t *testing.T) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var conns []net.Conn
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				break
			}
			conns = append(conns, conn)
		}
		for _, conn := range conns {
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-ended })
	return l.Addr().String()
}

func TestWithoutAConnectionNothingIsSentAndAFallbackTakesOver(t *testing.T) {
	t.Parallel()
	good := shared.server().Copy(t, shared.migrated())
	elsewhere := func(host, query string) string {
		location, err := url.Parse(good)
		must(t, err)
		location.Host = host
		location.RawQuery = query
		return location.String()
	}
	parsed, err := url.Parse(good)
	must(t, err)
	errBreaker := errors.New("the circuit breaker is open")
	for name, tc := range map[string]struct {
		location string
		set      func(*pgxpool.Config)
		busy     bool // all connections of the pool are in use
		limit    time.Duration
		is       error
	}{
		"a host name that does not resolve":        {location: elsewhere("no-such-host.invalid:5432", "")},
		"a port where nobody listens":              {location: elsewhere("127.0.0.1:1", "")},
		"a server that is silent after the start":  {location: elsewhere(silent(t), "connect_timeout=1&sslmode=disable")},
		"a server that is silent in the handshake": {location: elsewhere(silent(t), "connect_timeout=1&sslmode=require")},
		"TLS that the server refuses":              {location: elsewhere(parsed.Host, "sslmode=require")},
		"a password or user that it refuses":       {location: strings.Replace(elsewhere(parsed.Host, parsed.RawQuery), "://", "://nobody-of-this-name@", 1)},
		"a database that it does not have":         {location: strings.Replace(good, parsed.Path, "/no_such_database", 1)},
		"a circuit breaker in the dialer": {location: good, is: errBreaker, set: func(c *pgxpool.Config) {
			c.ConnConfig.DialFunc = func(context.Context, string, string) (net.Conn, error) { return nil, errBreaker }
		}},
		"a circuit breaker in a hook of the pool": {location: good, is: errBreaker, set: func(c *pgxpool.Config) {
			c.BeforeConnect = func(context.Context, *pgx.ConnConfig) error { return errBreaker }
		}},
		"an exhausted pool":                  {location: good, busy: true, limit: 50 * time.Millisecond, is: context.DeadlineExceeded, set: func(c *pgxpool.Config) { c.MaxConns = 1 }},
		"a context that ends while it dials": {location: elsewhere(silent(t), "sslmode=disable"), limit: 50 * time.Millisecond, is: context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var set []func(*pgxpool.Config)
			if tc.set != nil {
				set = append(set, tc.set)
			}
			if strings.Count(tc.location, "@") > 1 {
				tc.location = strings.Replace(tc.location, "nobody-of-this-name@", "", 1)
				location, err := url.Parse(tc.location)
				must(t, err)
				location.User = url.UserPassword("nobody_of_this_name", "hunter2")
				tc.location = location.String()
			}
			exec, pool := executorAt(t, tc.location, set...)
			if tc.busy {
				conn, err := pool.Acquire(t.Context())
				must(t, err)
				defer conn.Release()
			}
			ctx := t.Context()
			if tc.limit > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, tc.limit)
				defer cancel()
			}
			in, err := raw.Intent([]byte("1"))
			must(t, err)
			err = exec.Execute(ctx, in)
			wantIs(t, err, core.ErrUnavailable)
			if tc.is != nil {
				wantIs(t, err, tc.is)
			}
			if out := core.OutcomesOf(err, []core.Intent{in})[0]; out.State != core.NotSent {
				t.Errorf("%v: %v", out.State, out.Err)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("a credential is shown: %v", err)
			}
			if tc.limit > 0 {
				return // whose caller has gone
			}
			taken := 0
			must(t, compose.WithFallback(exec.Execute, func(_ context.Context, intents ...core.Intent) error {
				taken += len(intents)
				return nil
			})(t.Context(), in))
			if taken != 1 {
				t.Error("the fallback did not take the job")
			}
		})
	}
}

func TestAReadOnlyServerIsUnavailable(t *testing.T) {
	t.Parallel()
	exec, _ := executorAt(t, shared.server().Copy(t, shared.migrated()), func(c *pgxpool.Config) {
		c.ConnConfig.RuntimeParams["default_transaction_read_only"] = "on"
	})
	in, err := raw.Intent([]byte("1"))
	must(t, err)
	err = exec.Execute(t.Context(), in)
	wantIs(t, err, core.ErrUnavailable)
	var server *pgconn.PgError
	if !errors.As(err, &server) || server.Code != "25006" {
		t.Errorf("%v", err)
	}
	if err := exec.CheckServer(t.Context()); err == nil || !strings.Contains(err.Error(), "transaction_read_only is on") {
		t.Errorf("CheckServer: %v", err)
	}
}

// A worker whose database is away at the start, and again later, says so once each time.
func TestAWorkerWaitsForItsDatabase(t *testing.T) {
	f := throughProxy(t)
	f.proxy.Down()
	log, lines := newJournal()
	location, err := url.Parse(f.direct.Config().ConnString())
	must(t, err)
	location.Host = f.proxy.Addr()
	driver := riverpgxv5.New(openPool(t, location.String()))
	w, err := riverexec.NewWorker(driver, f.registry(handleRaw(f.note)), &riverexec.WorkerOptions{Logger: log, Config: quickConfig()})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	lost, back := `msg="airlock: backend lost, trying again"`, `msg="airlock: backend is back"`
	for n := 1; n <= 2; n++ {
		f.testEnv.until("the loss is logged", func() bool { return lines.count(lost) == n })
		time.Sleep(500 * time.Millisecond) // for some tries more
		errorsLogged := lines.count("level=ERROR")
		must(t, f.proxy.Up())
		f.testEnv.until("the return is logged", func() bool { return lines.count(back) == n })
		must(t, f.proxy.Heal())
		f.testEnv.until("a job can be sent", func() bool { return f.exec.Execute(t.Context(), f.intent("1")) == nil })
		f.await(n)
		if got := lines.count(lost); got != n || errorsLogged > 8*n {
			t.Errorf("lost %d times, logged %d times and %d errors:\n%v", n, got, errorsLogged, lines)
		}
		if n == 1 {
			f.proxy.Down()
		}
	}
	cancel()
	must(t, <-ended)
}

func TestCheckServerSaysWhatLosesJobs(t *testing.T) {
	t.Parallel()
	server := servers.Postgres(t, servers.PostgresOptions{Private: true})
	safe := server.Database(t)
	exec, pool := executorAt(t, safe)
	migrate(t, riverpgxv5.New(pool), "")
	must(t, exec.CheckServer(t.Context()))
	wantProblem := func(exec *riverexec.Executor[pgx.Tx], part string) {
		t.Helper()
		if err := exec.CheckServer(t.Context()); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v, want %q", err, part)
		}
	}
	lax, _ := executorAt(t, safe, func(c *pgxpool.Config) { c.ConnConfig.RuntimeParams["synchronous_commit"] = "off" })
	wantProblem(lax, "synchronous_commit is off")
	forgetful, _ := executorAt(t, shared.server().Copy(t, shared.migrated()))
	wantProblem(forgetful, "fsync is off")
	empty, _ := executorAt(t, server.Database(t))
	wantProblem(empty, "tables are missing")
	away, _ := executorAt(t, "postgres://127.0.0.1:1/x")
	wantIs(t, away.CheckServer(t.Context()), core.ErrUnavailable)
	change := func(statement string) {
		t.Helper()
		_, err := pool.Exec(t.Context(), statement)
		must(t, err)
	}
	change("CREATE ROLE narrow LOGIN; GRANT CONNECT ON DATABASE " + pool.Config().ConnConfig.Database + " TO narrow; GRANT USAGE ON SCHEMA public TO narrow; GRANT SELECT, INSERT ON river_job TO narrow")
	narrow, _ := executorAt(t, safe, func(c *pgxpool.Config) { c.ConnConfig.User = "narrow" })
	must(t, narrow.CheckServer(t.Context())) // it may not read the migrations: cannot tell
	change("DROP OWNED BY narrow; DROP ROLE narrow")
	change("DELETE FROM river_migration WHERE version > 6")
	wantProblem(exec, "at migration 6")
	change("ALTER TABLE river_job SET UNLOGGED")
	wantProblem(exec, "unlogged")
}
