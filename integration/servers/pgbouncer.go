package servers

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// A PgBouncerServer is a running PgBouncer in transaction mode: each transaction of a client may use another connection to PostgreSQL.
type PgBouncerServer struct {
	*instance
}

// PgBouncer starts a PgBouncer in front of a PostgreSQL server whose user postgres needs no password. It keeps no prepared statements, so clients use the simple
// protocol.
func PgBouncer(tb testing.TB, behind *PostgresServer) *PgBouncerServer {
	tb.Helper()
	path := program(tb, "pgbouncer", "/usr/sbin")
	i := prepare(tb, "pgbouncer", 1)
	as, err := unprivileged()
	if err != nil {
		tb.Fatalf("servers: %v", err)
	}
	s := &PgBouncerServer{i}
	file := filepath.Join(i.dir, "pgbouncer.ini")
	text := fmt.Sprintf("[databases]\n* = host=%s port=%s user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\nunix_socket_dir =\n"+
		"auth_type = any\npool_mode = transaction\nmax_client_conn = 1000\ndefault_pool_size = 10\nignore_startup_parameters = extra_float_digits\n",
		behind.url.Hostname(), behind.url.Port(), i.ports[0].Number())
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		tb.Fatalf("servers: %v", err)
	}
	if err := as.own(i.dir); err != nil {
		tb.Fatalf("servers: %v", err)
	}
	i.run(tb, &process{
		command: func() *exec.Cmd {
			cmd := as.as(exec.Command(path, file))
			cmd.Dir = i.dir
			return cmd
		},
		ready: func(ctx context.Context) error { return pingPostgres(ctx, s.Through(behind.URL())) },
		quit:  os.Interrupt,
	})
	return s
}

// Through turns the URL of a database behind the PgBouncer into one that leads through it, with pgx's simple protocol.
func (s *PgBouncerServer) Through(location string) string {
	through, err := url.Parse(location)
	if err != nil {
		return location
	}
	through.Host = s.ports[0].Addr()
	query := through.Query()
	query.Set("default_query_exec_mode", "simple_protocol")
	through.RawQuery = query.Encode()
	return through.String()
}
