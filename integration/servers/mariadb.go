package servers

import (
	"context"
	"crypto/rand"
	"database/sql"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
)

// MariaDBOptions tune [MariaDB]. The zero value is good for tests that do not kill the server.
type MariaDBOptions struct {
	// Private ignores AIRLOCK_MARIADB_DSN, for tests that kill the server or change its settings. It syncs every COMMIT to disk.
	Private bool
}

// A MariaDBServer is a running MariaDB server.
type MariaDBServer struct {
	*instance
	config *mysql.Config
}

// MariaDB starts a MariaDB server, or uses that of AIRLOCK_MARIADB_DSN (a DSN of go-sql-driver/mysql over TCP, of a user who may
// create databases; MySQL 8 works too). Its user root has no password. Unless it is Private it does not sync to disk, which
// only a machine that fails would show.
//
// A start takes one to three seconds: start one for many tests and give each a [MariaDBServer.Database] of its own. When the test
// runs as root, the server runs as the user postgres or nobody.
func MariaDB(tb testing.TB, opts MariaDBOptions) *MariaDBServer {
	tb.Helper()
	if external := os.Getenv("AIRLOCK_MARIADB_DSN"); external != "" && !opts.Private {
		config, err := mysql.ParseDSN(external)
		if err != nil || config.Net != "tcp" {
			tb.Fatalf("servers: AIRLOCK_MARIADB_DSN is not a DSN with tcp(host:port): %v", err)
		}
		return &MariaDBServer{instance: &instance{name: "mariadb"}, config: config}
	}
	install, server := program(tb, "mariadb-install-db"), program(tb, "mariadbd", "/usr/sbin")
	i := prepare(tb, "mariadb", 1)
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
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC", "TMPDIR=" + i.dir}
		return cmd
	}
	create := command(install, "--no-defaults", "--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db")
	if output, err := create.CombinedOutput(); err != nil {
		tb.Fatalf("servers: mariadb-install-db: %v\n%s", err, output)
	}
	synced := "0"
	if opts.Private {
		synced = "1"
	}
	port := i.ports[0]
	config := mysql.NewConfig()
	config.User, config.Net, config.Addr, config.DBName = "root", "tcp", port.Addr(), "mysql"
	i.run(tb, &process{
		command: func() *exec.Cmd {
			return command(server, "--no-defaults", "--datadir="+data, "--bind-address=127.0.0.1", "--port="+strconv.Itoa(port.Number()),
				"--socket="+filepath.Join(i.dir, "mariadb.sock"), "--pid-file="+filepath.Join(i.dir, "mariadb.pid"), "--tmpdir="+i.dir,
				"--innodb-flush-log-at-trx-commit="+synced, "--max-connections=300", "--skip-name-resolve")
		},
		ready: func(ctx context.Context) error { return pingMariaDB(ctx, config) },
		quit:  terminate,
	})
	return &MariaDBServer{instance: i, config: config}
}

// Addr is the server's host and port.
func (s *MariaDBServer) Addr() string { return s.config.Addr }

// Database creates an empty database with a name of its own and returns its DSN, as sql.Open("mysql") takes it. On a server from
// the environment the test's Cleanup drops it.
func (s *MariaDBServer) Database(tb testing.TB) string {
	tb.Helper()
	name := "airlock_" + strings.ToLower(rand.Text())
	s.exec(tb, "CREATE DATABASE "+name)
	if s.engine == nil {
		tb.Cleanup(func() { s.exec(tb, "DROP DATABASE "+name) })
	}
	config := s.config.Clone()
	config.DBName = name
	return config.FormatDSN()
}

func (s *MariaDBServer) exec(tb testing.TB, statement string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	db, err := sql.Open("mysql", s.config.FormatDSN())
	if err != nil {
		tb.Fatalf("servers: %v", err)
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, statement); err != nil {
		tb.Fatalf("servers: %s: %v", statement, err)
	}
}

func pingMariaDB(ctx context.Context, config *mysql.Config) error {
	quiet := config.Clone()
	quiet.Logger = &mysql.NopLogger{}
	db, err := sql.Open("mysql", quiet.FormatDSN())
	if err != nil {
		return err
	}
	defer db.Close()
	return db.PingContext(ctx)
}
