package servers

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

// PostgresOptions tune [Postgres]. The zero value is good for tests that do not kill the server.
type PostgresOptions struct {
	// Private ignores AIRLOCK_POSTGRES_URL, for tests that kill the server or change its settings. It syncs to disk.
	Private bool
	// NoSync leaves it to the system when to write to the disk (fsync off), which makes commits and restarts quick: Kill and
	// Restart lose nothing, only a crash of the machine would. It implies Private.
	NoSync bool
}

// A PostgresServer is a running PostgreSQL server.
type PostgresServer struct {
	*instance
	url *url.URL
}

// Postgres starts a PostgreSQL server, or takes that of AIRLOCK_POSTGRES_URL (a postgres:// URL of a user who may create
// databases). Its superuser is postgres, without a password; it has the settings of a new installation but for 300
// connections, and keeps what it committed when killed. Unless it is Private it does not sync to disk, which only a machine
// that fails would show, and does not vacuum: with a database for each test, that is most of its work.
//
// A start takes one to two seconds, most of them initdb: start one for many tests and give each a [PostgresServer.Database] of its
// own. When the test runs as root, the server runs as the user postgres or nobody.
func Postgres(tb testing.TB, opts PostgresOptions) *PostgresServer {
	tb.Helper()
	if external := os.Getenv("AIRLOCK_POSTGRES_URL"); external != "" && !opts.Private && !opts.NoSync {
		parsed, err := url.Parse(external)
		if err != nil || !strings.HasPrefix(parsed.Scheme, "postgres") {
			tb.Fatalf("servers: AIRLOCK_POSTGRES_URL is not a postgres:// URL: %v", err)
		}
		return &PostgresServer{instance: &instance{name: "postgres"}, url: parsed}
	}
	folders, _ := filepath.Glob(debianPostgres) // the pattern is well-formed
	slices.SortFunc(folders, byMajorVersion)
	initdb, postgres := program(tb, "initdb", folders...), program(tb, "postgres", folders...)

	i := prepare(tb, "postgres", 1)
	as, err := unprivileged()
	if err != nil {
		tb.Fatalf("servers: %v", err)
	}
	if err := as.own(i.dir); err != nil {
		tb.Fatalf("servers: %v", err)
	}
	data := filepath.Join(i.dir, "data")
	command := func(path string, args ...string) *exec.Cmd {
		cmd := as.as(exec.Command(path, args...))
		cmd.Dir = i.dir
		// Settings such as PGDATA and PGPORT must not leak in.
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
		return cmd
	}
	create := command(initdb, "--pgdata", data, "--username", "postgres", "--auth", "trust", "--encoding", "UTF8",
		"--locale", "C", "--no-sync", "--no-instructions")
	if output, err := create.CombinedOutput(); err != nil {
		tb.Fatalf("servers: initdb: %v\n%s", err, output)
	}

	synced := "off"
	if opts.Private {
		synced = "on"
	}
	port := i.ports[0]
	location := &url.URL{Scheme: "postgres", User: url.User("postgres"), Host: port.Addr(), Path: "/postgres",
		RawQuery: "sslmode=disable"}
	i.run(tb, &process{
		command: func() *exec.Cmd {
			return command(postgres, "-D", data, "-c", "fsync="+onOff[!opts.NoSync],
				"-c", "listen_addresses=127.0.0.1", "-c", "port="+strconv.Itoa(port.Number()),
				"-c", "unix_socket_directories=", "-c", "max_connections=300",
				// Kept with the data, so that a kill leaves nothing in /dev/shm.
				"-c", "dynamic_shared_memory_type=mmap",
				"-c", "fsync="+synced, "-c", "full_page_writes="+synced, "-c", "autovacuum="+synced)
		},
		ready: func(ctx context.Context) error { return pingPostgres(ctx, location.String()) },
		quit:  syscall.SIGINT, // the fast shutdown: does not wait for clients to leave
	})
	return &PostgresServer{instance: i, url: location}
}

var onOff = map[bool]string{true: "on", false: "off"}

// URL is the address of the server's default database, as pgx.Connect and sql.Open take it.
func (s *PostgresServer) URL() string { return s.url.String() }

// Addr is the server's host and port.
func (s *PostgresServer) Addr() string { return s.url.Host }

// Database creates an empty database with a name of its own and returns its URL. On a server from the environment the
// test's Cleanup drops it.
func (s *PostgresServer) Database(tb testing.TB) string {
	tb.Helper()
	return s.create(tb, "template1")
}

// Copy is Database with what another database of the server has. Nobody may be connected to that one.
func (s *PostgresServer) Copy(tb testing.TB, location string) string {
	tb.Helper()
	from, err := url.Parse(location)
	if err != nil {
		tb.Fatalf("servers: %v", err)
	}
	return s.create(tb, strings.TrimPrefix(from.Path, "/"))
}

func (s *PostgresServer) create(tb testing.TB, template string) string {
	tb.Helper()
	name := "airlock_" + strings.ToLower(rand.Text())
	s.exec(tb, "CREATE DATABASE "+name+" TEMPLATE "+template)
	if s.engine == nil {
		tb.Cleanup(func() { s.exec(tb, "DROP DATABASE "+name+" WITH (FORCE)") })
	}
	location := *s.url
	location.Path = "/" + name
	return location.String()
}

func (s *PostgresServer) exec(tb testing.TB, statement string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.URL())
	if err != nil {
		tb.Fatalf("servers: %v", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, statement); err != nil {
		tb.Fatalf("servers: %s: %v", statement, err)
	}
}

func pingPostgres(ctx context.Context, location string) error {
	conn, err := pgx.Connect(ctx, location)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if err := conn.Ping(ctx); err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	return nil
}

// byMajorVersion sorts folders such as /usr/lib/postgresql/9.6/bin before /usr/lib/postgresql/15/bin.
func byMajorVersion(a, b string) int {
	return majorVersion(a) - majorVersion(b)
}

func majorVersion(folder string) int {
	major, _, _ := strings.Cut(filepath.Base(filepath.Dir(folder)), ".")
	number, err := strconv.Atoi(major)
	if err != nil {
		return 0
	}
	return number
}
