package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	watermillsql "github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/components/forwarder"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/hibiken/asynq"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver pgx
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
	"github.com/goairlock/airlock/outbox"
)

// outboxGroup measures a transaction that stores jobs, and how long it takes until
// asynq has them: a plain INSERT of the same bytes, a dispatch without any table, our
// outbox with a relay and with a dispatch from memory, and the SQL forwarder of
// watermill, whose subscriber reads 1000 rows at a time, as our relay does.
func outboxGroup() Group {
	return Group{
		Name: "outbox", Queue: "outbox", Title: "Jobs in a transaction of PostgreSQL, forwarded to asynq",
		Libraries: []string{"github.com/ThreeDotsLabs/watermill-sql/v4", "github.com/hibiken/asynq", "github.com/jackc/pgx/v5"},
		Sizes:     []int{1, 10, 100, 1000, 10000}, Setup: setupOutbox,
	}
}

// outboxBench is what the contenders share.
type outboxBench struct {
	db      *sql.DB
	box     *outbox.Box
	exec    core.Executor
	intents []core.Intent
	clear   func() error
}

func setupOutbox(ctx context.Context, w *world) ([]Contender, error) {
	url, err := w.postgres(ctx)
	if err != nil {
		return nil, err
	}
	opts, err := w.redis(ctx)
	if err != nil {
		return nil, err
	}
	rdb := redis.NewClient(opts)
	w.Cleanup(func() { _ = rdb.Close() })
	queue, err := asynqexec.New(rdb, nil)
	if err != nil {
		return nil, err
	}
	b := &outboxBench{exec: queue.Execute}
	if b.db, err = sql.Open("pgx", url); err != nil {
		return nil, err
	}
	w.Cleanup(func() { _ = b.db.Close() })
	b.db.SetMaxIdleConns(8)
	b.box, err = outbox.New(outbox.Postgres, &outbox.Options{For: b.exec, DB: outbox.SQL(b.db), Table: "airlock_bench_outbox", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	if err := b.box.CreateTable(ctx, outbox.SQL(b.db)); err != nil {
		return nil, err
	}
	if _, err := b.db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS airlock_bench_raw (seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id text NOT NULL, task text NOT NULL, intent bytea NOT NULL)"); err != nil {
		return nil, err
	}
	w.Cleanup(func() {
		_, _ = b.db.ExecContext(context.WithoutCancel(ctx), "DROP TABLE IF EXISTS airlock_bench_outbox, airlock_bench_outbox_meta, airlock_bench_raw, watermill_airlock_bench, watermill_offsets_airlock_bench")
	})
	inspector := asynq.NewInspectorFromRedisClient(rdb)
	b.clear = func() error {
		return errors.Join(rdb.SAdd(ctx, "asynq:queues", benchQueue).Err(), inspector.DeleteQueue(benchQueue, true))
	}
	w.Cleanup(func() { _ = b.clear() })
	mill, err := b.watermill(ctx)
	if err != nil {
		return nil, err
	}
	return append(b.ours(ctx), mill), nil
}

func (b *outboxBench) prepare(n int) (err error) {
	b.intents, err = makeIntents(n, core.Queue(benchQueue))
	return errors.Join(err, b.clear())
}

func (b *outboxBench) transaction(ctx context.Context, fn func(tx *sql.Tx) error) error {
	tx, err := b.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := fn(tx); err != nil {
		return err
	}
	return tx.Commit()
}

func (b *outboxBench) ours(ctx context.Context) []Contender {
	var held *outbox.Held
	done := func() error { return nil } // when it returns
	return []Contender{
		{Name: "plain INSERT of the same bytes", Reference: true, Prepare: b.prepare, HandOver: func(int) error {
			return b.transaction(ctx, func(tx *sql.Tx) error {
				for chunk := range slices.Chunk(b.intents, 5000) { // a statement takes 65535 parameters
					var values []string
					var args []any
					for i, in := range chunk {
						data, err := adapter.EncodeIntent(in)
						if err != nil {
							return err
						}
						values = append(values, fmt.Sprintf("($%d, $%d, $%d)", 3*i+1, 3*i+2, 3*i+3))
						args = append(args, in.ID, in.Task, data)
					}
					if _, err := tx.ExecContext(ctx, "INSERT INTO airlock_bench_raw (id, task, intent) VALUES "+strings.Join(values, ", "), args...); err != nil {
						return err
					}
				}
				return nil
			})
		}, Wait: done},
		{Name: "asynq, without a transaction", Prepare: b.prepare, HandOver: func(int) error { return b.exec(ctx, b.intents...) }, Wait: done},
		{Name: "airlock, stored for a relay", Prepare: b.prepare, HandOver: func(int) error {
			return b.transaction(ctx, func(tx *sql.Tx) error { return b.box.InTx(outbox.SQL(tx))(ctx, b.intents...) })
		}, Wait: func() error { return b.relay(ctx) }},
		{Name: "airlock, sent after the COMMIT", Prepare: b.prepare, HandOver: func(int) error {
			err := b.transaction(ctx, func(tx *sql.Tx) error {
				held = b.box.Hold(outbox.SQL(tx))
				held.NoSavepoints()
				return held.Execute(ctx, b.intents...)
			})
			if err == nil {
				held.Committed(ctx)
			}
			return err
		}, Wait: func() error { return b.box.Close(ctx) }},
	}
}

// relay runs a relay until it has sent what is stored.
func (b *outboxBench) relay(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sent := 0
	relay, err := outbox.NewRelay(b.box, outbox.SQL(b.db), b.exec, &outbox.RelayOptions{Logger: slog.New(slog.DiscardHandler), Observer: func(r outbox.Report) {
		if sent += r.Accepted; sent >= len(b.intents) {
			cancel()
		}
	}})
	if err != nil {
		return err
	}
	return relay.Run(ctx)
}

// watermill makes the contender that stores with watermill's publisher, in a
// transaction, and forwards with its forwarder.
func (b *outboxBench) watermill(ctx context.Context) (Contender, error) {
	const topic = "airlock_bench"
	schema := watermillsql.DefaultPostgreSQLSchema{SubscribeBatchSize: 1000}
	none := watermill.NopLogger{}
	// The tables, which a publisher in a transaction may not create.
	subscriber, err := watermillsql.NewSubscriber(watermillsql.StdSQLBeginner{SQLBeginner: b.db}, watermillsql.SubscriberConfig{
		SchemaAdapter: schema, OffsetsAdapter: watermillsql.DefaultPostgreSQLOffsetsAdapter{}, InitializeSchema: true,
	}, none)
	if err != nil {
		return Contender{}, err
	}
	if err := errors.Join(subscriber.SubscribeInitialize(topic), subscriber.Close()); err != nil {
		return Contender{}, err
	}
	return Contender{Name: "watermill's SQL forwarder", Prepare: b.prepare, HandOver: func(int) error {
		return b.transaction(ctx, func(tx *sql.Tx) error {
			inner, err := watermillsql.NewPublisher(watermillsql.StdSQLTx{Tx: tx}, watermillsql.PublisherConfig{SchemaAdapter: schema}, none)
			if err != nil {
				return err
			}
			publisher := forwarder.NewPublisher(inner, forwarder.PublisherConfig{ForwarderTopic: topic})
			messages := make([]*message.Message, len(b.intents))
			for i, in := range b.intents {
				data, err := adapter.EncodeIntent(in)
				if err != nil {
					return err
				}
				messages[i] = message.NewMessage(in.ID, data)
			}
			return publisher.Publish(benchQueue, messages...)
		})
	}, Wait: func() error {
		subscriber, err := watermillsql.NewSubscriber(watermillsql.StdSQLBeginner{SQLBeginner: b.db}, watermillsql.SubscriberConfig{
			SchemaAdapter: schema, OffsetsAdapter: watermillsql.DefaultPostgreSQLOffsetsAdapter{}, PollInterval: 10 * time.Millisecond,
		}, none)
		if err != nil {
			return err
		}
		out := &millPublisher{bench: b, done: make(chan struct{})}
		daemon, err := forwarder.NewForwarder(subscriber, out, none, forwarder.Config{ForwarderTopic: topic})
		if err != nil {
			return err
		}
		ended := make(chan error, 1)
		go func() { ended <- daemon.Run(ctx) }()
		select {
		case <-out.done:
		case err := <-ended:
			return errors.Join(errors.New("the forwarder has ended"), err)
		}
		return errors.Join(daemon.Close(), <-ended)
	}}, nil
}

// millPublisher gives a forwarder's messages to asynq, one at a time, as the forwarder
// does.
type millPublisher struct {
	bench *outboxBench
	sent  atomic.Int64
	done  chan struct{}
}

func (p *millPublisher) Publish(_ string, messages ...*message.Message) error {
	for _, m := range messages {
		in, err := adapter.DecodeIntent(m.Payload)
		if err == nil {
			err = p.bench.exec(m.Context(), in)
		}
		if err != nil {
			return err
		}
		if p.sent.Add(1) == int64(len(p.bench.intents)) {
			close(p.done)
		}
	}
	return nil
}

func (p *millPublisher) Close() error { return nil }
