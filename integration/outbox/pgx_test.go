//go:build realservers

package outbox_test

import (
	"context"
	"errors"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/airlockpgx"
	"github.com/goairlock/airlock/conformance/faultproxy"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/outbox"
)

func payPgx(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, "INSERT INTO orders VALUES ('A-1')"); err != nil {
		return err
	}
	return airlock.Enqueue(ctx, task, "A-1")
}

func newPool(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), url)
	must(t, err)
	t.Cleanup(pool.Close)
	return pool
}

func TestPgx(t *testing.T) {
	t.Parallel()
	server := servers.Postgres(t, servers.PostgresOptions{})
	setup := func(t *testing.T) (*world, *pgxpool.Pool, *queue, *outbox.Box) {
		t.Helper()
		w := openPostgres(t, server.Database(t))
		w.exec(t, "CREATE TABLE orders (id text)")
		pool, q := newPool(t, w.source), newQueue()
		return w, pool, q, w.box(t, q, func(o *outbox.Options) { o.DB = airlockpgx.DB(pool) })
	}
	orders := func(t *testing.T, w *world) int64 { return w.number(t, "SELECT count(*) FROM orders") }

	t.Run("with an outbox, on a pool and on a connection", func(t *testing.T) {
		w, pool, q, box := setup(t)
		must(t, airlockpgx.RunTx(t.Context(), pool, pgx.TxOptions{}, q.exec(), payPgx, airlockpgx.Outbox(box)))
		conn, err := pgx.Connect(t.Context(), w.source)
		must(t, err)
		defer conn.Close(context.Background())
		must(t, airlockpgx.RunTx(t.Context(), conn, pgx.TxOptions{}, nil, payPgx, airlockpgx.Outbox(box)))
		must(t, box.Close(t.Context()))
		if len(q.ids()) != 2 || orders(t, w) != 2 || w.stats(t, box) != (outbox.Stats{}) {
			t.Errorf("%v, stats %+v", q.ids(), w.stats(t, box))
		}
	})
	t.Run("without an outbox, after the COMMIT", func(t *testing.T) {
		w, pool, q, _ := setup(t)
		must(t, airlockpgx.RunTx(t.Context(), pool, pgx.TxOptions{}, q.exec(), payPgx))
		q.setFail(func(int, []core.Intent) error { return core.ErrUnavailable })
		var fe *airlock.FlushError
		if err := airlockpgx.RunTx(t.Context(), pool, pgx.TxOptions{}, q.exec(), payPgx); !errors.As(err, &fe) {
			t.Errorf("error %v, want a FlushError", err)
		}
		if len(q.ids()) != 1 || orders(t, w) != 2 {
			t.Errorf("%v, %d orders", q.ids(), orders(t, w))
		}
	})
	t.Run("a failure and a panic roll back", func(t *testing.T) {
		w, pool, q, box := setup(t)
		failure := errors.New("declined")
		for _, opts := range [][]airlock.Option{nil, {airlockpgx.Outbox(box)}} {
			err := airlockpgx.RunTx(t.Context(), pool, pgx.TxOptions{}, q.exec(), func(ctx context.Context, tx pgx.Tx) error {
				return errors.Join(payPgx(ctx, tx), failure)
			}, opts...)
			if !errors.Is(err, failure) {
				t.Errorf("error %v", err)
			}
			func() {
				defer func() {
					if recover() == nil {
						t.Error("the panic did not go on")
					}
				}()
				airlockpgx.RunTx(t.Context(), pool, pgx.TxOptions{}, q.exec(), func(ctx context.Context, tx pgx.Tx) error { // it panics
					_ = payPgx(ctx, tx)
					panic("boom")
				}, opts...)
			}()
			ctx, cancel := context.WithCancel(t.Context())
			err = airlockpgx.RunTx(ctx, pool, pgx.TxOptions{}, q.exec(), func(ctx context.Context, tx pgx.Tx) error {
				err := payPgx(ctx, tx)
				cancel()
				return err
			}, opts...)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
		}
		if len(q.ids()) != 0 || orders(t, w) != 0 || w.stats(t, box) != (outbox.Stats{}) {
			t.Errorf("%v, %d orders, stats %+v", q.ids(), orders(t, w), w.stats(t, box))
		}
		if n := pool.Stat().AcquiredConns(); n != 0 {
			t.Errorf("%d connections are not given back", n)
		}
	})
	t.Run("a COMMIT that the database refuses", func(t *testing.T) {
		w, pool, q, box := setup(t)
		w.exec(t, "CREATE TABLE parents (id text PRIMARY KEY)")
		w.exec(t, "CREATE TABLE children (parent text REFERENCES parents DEFERRABLE INITIALLY DEFERRED)")
		for name, spoil := range map[string]string{"deferred constraint": "INSERT INTO children VALUES ('nobody')", "failed statement": "SELECT 1/0"} {
			for _, opts := range [][]airlock.Option{nil, {airlockpgx.Outbox(box)}} {
				err := airlockpgx.RunTx(t.Context(), pool, pgx.TxOptions{}, q.exec(), func(ctx context.Context, tx pgx.Tx) error {
					if name == "deferred constraint" {
						_ = payPgx(ctx, tx)
					}
					_, _ = tx.Exec(ctx, spoil)
					return nil
				}, opts...)
				var ce *airlockpgx.CommitError
				if err == nil || errors.As(err, &ce) {
					t.Errorf("%s: error %v, want a refusal", name, err)
				}
			}
		}
		if len(q.ids()) != 0 || w.stats(t, box) != (outbox.Stats{}) {
			t.Errorf("%v, stats %+v", q.ids(), w.stats(t, box))
		}
	})
	t.Run("fn ends the transaction itself", func(t *testing.T) {
		_, pool, q, _ := setup(t)
		err := airlockpgx.RunTx(t.Context(), pool, pgx.TxOptions{}, q.exec(), func(ctx context.Context, tx pgx.Tx) error {
			return errors.Join(payPgx(ctx, tx), tx.Commit(ctx))
		})
		var ce *airlockpgx.CommitError
		if !errors.As(err, &ce) || len(ce.Intents) != 1 || ce.Stored || !errors.Is(err, pgx.ErrTxClosed) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("savepoints", func(t *testing.T) {
		w, pool, q, box := setup(t)
		refused := errors.New("no gift")
		// A scope around the savepoint, as the package comment recommends.
		for _, opts := range [][]airlock.Option{nil, {airlockpgx.Outbox(box)}} {
			for _, want := range []error{nil, refused} {
				must(t, airlockpgx.RunTx(t.Context(), pool, pgx.TxOptions{}, q.exec(), func(ctx context.Context, tx pgx.Tx) error {
					err := airlock.Run(ctx, nil, func(ctx context.Context) error {
						return pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error { return errors.Join(payPgx(ctx, tx), want) })
					})
					if !errors.Is(err, want) {
						return err
					}
					return airlock.Enqueue(ctx, task, "order")
				}, opts...))
			}
		}
		must(t, box.Close(t.Context()))
		if orders(t, w) != 2 || len(q.ids()) != 6 {
			t.Errorf("%d orders and %d jobs, want 2 and 6", orders(t, w), len(q.ids()))
		}
		// By hand: a Held whose transaction is a savepoint or has one.
		tx, err := pool.Begin(t.Context())
		must(t, err)
		defer tx.Rollback(context.Background())
		held := box.Hold(airlockpgx.Tx(tx))
		err = pgx.BeginFunc(t.Context(), tx, func(inner pgx.Tx) error {
			return errors.Join(held.Execute(t.Context(), intents(t, 2)...), box.InTx(airlockpgx.Tx(inner))(t.Context(), intents(t, 2)...), refused)
		})
		if !errors.Is(err, refused) {
			t.Errorf("error %v", err)
		}
		must(t, held.Execute(t.Context(), intents(t, 1)...))
		must(t, tx.Commit(t.Context()))
		held.Committed(t.Context())
		must(t, box.Close(t.Context()))
		if len(q.ids()) != 7 || w.stats(t, box) != (outbox.Stats{}) {
			t.Errorf("%d jobs, stats %+v", len(q.ids()), w.stats(t, box))
		}
	})
	t.Run("the reply to COMMIT is lost", func(t *testing.T) {
		w, _, q, _ := setup(t)
		box := w.box(t, q, func(o *outbox.Options) { o.Lease = time.Second })
		proxy, err := faultproxy.New(server.Addr())
		must(t, err)
		defer proxy.Close()
		config, err := pgxpool.ParseConfig(w.source)
		must(t, err)
		config.ConnConfig.Host, config.ConnConfig.Port = hostPort(t, proxy.Addr())
		pool, err := pgxpool.NewWithConfig(t.Context(), config)
		must(t, err)
		defer pool.Close()
		err = airlockpgx.RunTx(t.Context(), losing{pool, proxy}, pgx.TxOptions{}, q.exec(), payPgx, airlockpgx.Outbox(box))
		var ce *airlockpgx.CommitError
		if !errors.As(err, &ce) || !ce.Stored || len(ce.Intents) != 1 {
			t.Fatalf("error %v, want a CommitError", err)
		}
		if q.numberOfCalls() != 0 {
			t.Error("sent although nobody knows whether the COMMIT has succeeded")
		}
		w.relay(t, box, q)
		if orders(t, w) == 0 {
			t.Fatal("the COMMIT did not reach the server: nothing was tested")
		}
		q.await(t, 1)
		w.awaitStats(t, box, outbox.Stats{})
	})
	t.Run("a relay on pgx", func(t *testing.T) {
		w, pool, q, box := setup(t)
		w.store(t, box, intents(t, 100)...)
		must(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			return box.InTx(airlockpgx.Tx(tx))(t.Context(), intents(t, 3)...)
		}))
		relay, err := outbox.NewRelay(box, airlockpgx.DB(pool), q.exec(), &outbox.RelayOptions{Poll: 10 * time.Millisecond, Logger: quiet})
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- relay.Run(ctx) }()
		q.await(t, 103)
		w.awaitStats(t, box, outbox.Stats{})
		cancel()
		must(t, <-done)
	})
	t.Run("the simple protocol, for PgBouncer", func(t *testing.T) {
		w, _, q, _ := setup(t)
		pool := newPool(t, w.source+"&default_query_exec_mode=simple_protocol")
		box := w.box(t, q, func(o *outbox.Options) { o.DB = airlockpgx.DB(pool) })
		must(t, airlockpgx.RunTx(t.Context(), pool, pgx.TxOptions{}, q.exec(), payPgx, airlockpgx.Outbox(box)))
		must(t, box.Close(t.Context()))
		if len(q.ids()) != 1 || w.stats(t, box) != (outbox.Stats{}) {
			t.Errorf("%v, stats %+v", q.ids(), w.stats(t, box))
		}
	})
	t.Run("bad input", func(t *testing.T) {
		_, pool, q, box := setup(t)
		var noContext context.Context
		for name, err := range map[string]error{
			"database":   airlockpgx.RunTx(t.Context(), nil, pgx.TxOptions{}, q.exec(), payPgx),
			"pool":       airlockpgx.RunTx(t.Context(), (*pgxpool.Pool)(nil), pgx.TxOptions{}, q.exec(), payPgx),
			"connection": airlockpgx.RunTx(t.Context(), (*pgx.Conn)(nil), pgx.TxOptions{}, q.exec(), payPgx),
			"function":   airlockpgx.RunTx(t.Context(), pool, pgx.TxOptions{}, q.exec(), nil),
			"context":    airlockpgx.RunTx(noContext, pool, pgx.TxOptions{}, q.exec(), payPgx),
			"box":        airlockpgx.RunTx(t.Context(), pool, pgx.TxOptions{}, q.exec(), payPgx, airlockpgx.Outbox(nil)),
			"DB":         box.CreateTable(t.Context(), airlockpgx.DB(nil)),
			"Tx":         box.InTx(airlockpgx.Tx(nil))(t.Context(), intent(t, "a")),
		} {
			if !errors.Is(err, core.ErrInvalid) {
				t.Errorf("nil %s: %v", name, err)
			}
		}
		if err := airlockpgx.RunTx(t.Context(), pool, pgx.TxOptions{}, nil, payPgx); !errors.Is(err, airlock.ErrNoScope) {
			t.Errorf("nil executor: %v", err)
		}
		var pe *pgconn.PgError
		other, err := outbox.New(outbox.Postgres, &outbox.Options{For: q.exec(), Table: "nowhere"})
		must(t, err)
		if err := airlockpgx.RunTx(t.Context(), pool, pgx.TxOptions{}, nil, payPgx, airlockpgx.Outbox(other)); !errors.As(err, &pe) || !errors.Is(err, core.ErrNotSent) {
			t.Errorf("no table: %v", err)
		}
	})
}

// losing loses the reply to COMMIT.
type losing struct {
	*pgxpool.Pool
	proxy *faultproxy.Proxy
}

func (l losing) BeginTx(ctx context.Context, opts pgx.TxOptions) (pgx.Tx, error) {
	tx, err := l.Pool.BeginTx(ctx, opts)
	return losingTx{tx, l.proxy}, err
}

type losingTx struct {
	pgx.Tx
	proxy *faultproxy.Proxy
}

func (l losingTx) Commit(ctx context.Context) error {
	l.proxy.LoseReplies()
	go func() {
		_ = l.proxy.WaitFor(ctx, func(s faultproxy.Stats) bool { return s.LostReplyBytes > 0 })
		l.proxy.Reset()
	}()
	return l.Tx.Commit(ctx)
}

func hostPort(t *testing.T, addr string) (string, uint16) {
	t.Helper()
	host, text, err := net.SplitHostPort(addr)
	must(t, err)
	port, err := strconv.ParseUint(text, 10, 16)
	must(t, err)
	return host, uint16(port)
}
