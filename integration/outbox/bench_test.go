//go:build realservers

package outbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/outbox"
)

// BenchmarkInsert compares storing n intents with an INSERT of the same bytes, both
// with BEGIN and COMMIT. They take turns, so that what else the machine does hits both.
// The metric is the ratio of the medians.
func BenchmarkInsert(b *testing.B) {
	server := servers.Postgres(b, servers.PostgresOptions{})
	w := openPostgres(b, server.Database(b))
	box := w.box(b, newQueue())
	w.exec(b, "CREATE TABLE raw (seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id text NOT NULL, task text NOT NULL, intent bytea NOT NULL)")
	transaction := func(b *testing.B, fn func(tx *sql.Tx) error) {
		tx, err := w.db.BeginTx(b.Context(), nil)
		must(b, err)
		must(b, fn(tx))
		must(b, tx.Commit())
	}
	for _, n := range []int{1, 10, 100} {
		all := intents(b, n)
		raw := func(b *testing.B) {
			transaction(b, func(tx *sql.Tx) error {
				var values []string
				var args []any
				for i, in := range all {
					data, _ := adapter.EncodeIntent(in)
					values = append(values, fmt.Sprintf("($%d, $%d, $%d)", 3*i+1, 3*i+2, 3*i+3))
					args = append(args, in.ID, in.Task, data)
				}
				_, err := tx.ExecContext(b.Context(), "INSERT INTO raw (id, task, intent) VALUES "+strings.Join(values, ", "), args...)
				return err
			})
		}
		for name, store := range map[string]func(*testing.B){
			"outbox": func(b *testing.B) {
				transaction(b, func(tx *sql.Tx) error { return box.InTx(outbox.SQL(tx))(b.Context(), all...) })
			},
			// With the dispatch, which takes no time here, and the background.
			"held": func(b *testing.B) {
				var held *outbox.Held
				transaction(b, func(tx *sql.Tx) error {
					held = box.Hold(outbox.SQL(tx))
					held.NoSavepoints()
					return held.Execute(b.Context(), all...)
				})
				held.Committed(b.Context())
			},
		} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				var took [2][]time.Duration
				for b.Loop() {
					for i, one := range []func(*testing.B){raw, store} {
						begun := time.Now()
						one(b)
						took[i] = append(took[i], time.Since(begun))
					}
				}
				must(b, box.Close(context.Background()))
				slices.Sort(took[0])
				slices.Sort(took[1])
				middle := len(took[0]) / 2
				b.ReportMetric(float64(took[1][middle])/float64(took[0][middle]), "of-raw")
				w.exec(b, "TRUNCATE raw")
				w.exec(b, "TRUNCATE airlock_outbox")
			})
		}
	}
}

// BenchmarkRelay forwards 20 000 rows to an executor that takes no time, in front of
// a backlog that is not due.
func BenchmarkRelay(b *testing.B) {
	server := servers.Postgres(b, servers.PostgresOptions{})
	for _, backlog := range []int{0, 1000000} {
		b.Run(fmt.Sprintf("backlog/%d", backlog), func(b *testing.B) {
			w := openPostgres(b, server.Database(b))
			q := newQueue()
			box := w.box(b, q)
			if backlog > 0 {
				w.exec(b, fmt.Sprintf("INSERT INTO airlock_outbox (id, dest, task, queue, intent, created, not_before, due) "+
					"SELECT 'id' || n, 'test', 't', '', 'x', n, 9000000000000000, 9000000000000000 FROM generate_series(1, %d) AS n", backlog))
				w.exec(b, "ANALYZE airlock_outbox")
			}
			const rows = 20000
			all := intents(b, rows)
			var took time.Duration
			for b.Loop() {
				b.StopTimer()
				w.store(b, box, all...)
				ctx, cancel := context.WithCancel(context.Background())
				sent := 0
				exec := adapter.Guard(q.caps, func(context.Context, ...core.Intent) error { return nil })
				relay, err := outbox.NewRelay(box, outbox.SQL(w.db), exec, &outbox.RelayOptions{Observer: func(r outbox.Report) {
					if sent += r.Accepted; sent >= rows {
						cancel()
					}
				}})
				must(b, err)
				b.StartTimer()
				begun := time.Now()
				must(b, relay.Run(ctx))
				took += time.Since(begun)
			}
			b.ReportMetric(float64(rows)*float64(b.N)/took.Seconds(), "rows/s")
		})
	}
}
