//go:build realservers

package faults_test

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/goairlock/airlock/integration/servers"
)

func TestFaultsOnPostgres(t *testing.T) {
	t.Parallel()
	server := servers.Postgres(t, servers.PostgresOptions{})
	prove(t, server.Addr(), func(ctx context.Context, t *testing.T, proxyAddr string) victim {
		database := server.Database(t)
		direct, err := pgx.Connect(ctx, database)
		if err != nil {
			t.Fatal(err)
		}
		v := &postgresVictim{direct: direct}
		t.Cleanup(v.stop)
		if _, err := direct.Exec(ctx, "CREATE TABLE operations (id bigserial PRIMARY KEY)"); err != nil {
			t.Fatal(err)
		}
		if v.config, err = pgx.ParseConfig(through(t, database, proxyAddr)); err != nil {
			t.Fatal(err)
		}
		return v
	})
}

// A postgresVictim counts rows.
type postgresVictim struct {
	direct *pgx.Conn
	config *pgx.ConnConfig
	conn   *pgx.Conn // nil before connect
}

func (v *postgresVictim) connect(ctx context.Context) (err error) {
	if v.conn != nil {
		_ = v.conn.Close(ctx)
	}
	// pgx asks a server to cancel what runs on a connection that was lost, and a slow server has not begun it then.
	config, connected := v.config.Copy(), false
	dial := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if connected {
			return nil, errors.New("the victim cancels nothing")
		}
		return dial(ctx, network, addr)
	}
	if v.conn, err = pgx.ConnectConfig(ctx, config); err != nil {
		return err
	}
	connected = true
	// Prepared here, so that the operation is one request.
	_, err = v.conn.Prepare(ctx, "do", "INSERT INTO operations DEFAULT VALUES")
	return err
}

func (v *postgresVictim) do(ctx context.Context) error {
	_, err := v.conn.Exec(ctx, "do")
	return err
}

func (v *postgresVictim) done(ctx context.Context) (n int, err error) {
	err = v.direct.QueryRow(ctx, "SELECT count(*) FROM operations").Scan(&n)
	return n, err
}

func (v *postgresVictim) stop() {
	_ = v.direct.Close(context.Background())
	if v.conn != nil {
		_ = v.conn.Close(context.Background())
	}
}
