//go:build realservers

package river_test

import (
	"context"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/conformance/faultproxy"
	"github.com/goairlock/airlock/core"
	riverexec "github.com/goairlock/airlock/executors/river"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/worker"
)

// A flush of 10 000 intents under WithRetry, and in the middle of it kill -9 of
// the server, or the loss of its reply to COMMIT.
func TestNothingAcknowledgedIsLostWhenAFlushIsHit(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		moment  string // a query that counts what is to be under way
		lose    bool   // the reply, instead of the server
		workers bool
	}{
		{"killed while it inserts, workers stopped", sleepsInInsert, false, false},
		{"killed while it commits, workers stopped", sleepsInCommit, false, false},
		{"reply to COMMIT lost, workers stopped", sleepsInCommit, true, false},
		{"killed while it inserts, workers running", sleepsInInsert, false, true},
		{"killed while it commits, workers running", sleepsInCommit, false, true},
		{"reply to COMMIT lost, workers running", sleepsInCommit, true, true},
	} {
		t.Run(tc.name, func(t *testing.T) { hitInFlush(t, tc.moment, tc.lose, tc.workers) })
	}
}

const sleepsInInsert = `SELECT count(*) FROM pg_stat_activity WHERE query ~* '(insert into|copy).*river_job' AND wait_event_type = 'Lock' AND datname = current_database()`

func hitInFlush(t *testing.T, moment string, lose, workers bool) {
	const before, flushed = 500, 10_000
	server := servers.Postgres(t, servers.PostgresOptions{Private: true})
	location, err := url.Parse(server.Database(t))
	must(t, err)
	direct, err := pgx.Connect(t.Context(), location.String())
	must(t, err)
	proxy, err := faultproxy.New(location.Host)
	must(t, err)
	t.Cleanup(proxy.Close)
	w := setup(t, postgresAt(t, location.String()), nil) // the workers go round the proxy
	f := &faulty{testEnv: w, direct: direct, proxy: proxy}
	location.Host = proxy.Addr()
	producer := setup(t, postgresAt(t, location.String()), nil)

	ran := map[string]int{}
	start := func() func() { // a Worker waits for its database
		stop := w.run(w.registry(worker.Handle(raw, w.note)), &riverexec.WorkerOptions{
			Concurrency: 32, Config: river.Config{JobTimeout: time.Second, RescueStuckJobsAfter: 2 * time.Second},
		})
		return func() { must(t, stop()) }
	}
	var first []core.Intent
	for i := range before {
		first = append(first, w.intent(fmt.Sprintf(`{"before":%d}`, i)))
	}
	w.send(first...)
	stop := func() {}
	if workers {
		stop = start()
		w.await(1)
	}
	release := func() {}
	switch moment {
	case sleepsInCommit:
		release = f.holdCommit()
	case sleepsInInsert:
		f.holdInsert() // until the server is killed
	}

	exec := compose.WithRetry(producer.exec.Execute, compose.Retry{Attempts: 100, Backoff: core.Fixed(50 * time.Millisecond),
		OnRetry: func(_ context.Context, attempt int, _ time.Duration, err error) {
			if attempt == 1 {
				t.Logf("the flush was hit: %v", err)
			}
		}})
	var second []core.Intent
	done := make(chan error, 1)
	go func() {
		done <- airlock.Run(context.Background(), exec, func(ctx context.Context) error {
			for i := range flushed {
				in := w.intent(fmt.Sprintf(`{"n":%d}`, i))
				second = append(second, in)
				if err := airlock.Add(ctx, in); err != nil {
					return err
				}
			}
			return nil
		})
	}()
	f.until("the moment of the fault", moment)
	if lose {
		proxy.LoseReplies()
		release()
		f.until("the COMMIT's effect", "SELECT count(*) FROM river_job WHERE args ? 'n'")
		must(t, proxy.Heal()) // resets what has lost bytes
	} else {
		must(t, server.Kill())
	}
	_ = direct.Close(context.Background())
	if !lose {
		must(t, server.Restart())
	}
	if err := <-done; err != nil {
		t.Fatalf("the flush failed for good: %v", err)
	}

	// Work until everything has run; a job that the killed server had handed out
	// is rescued when a leader starts.
	all := append(first, second...)
	for end := time.Now().Add(patience); ; {
		stop()
		if time.Now().After(end) {
			t.Fatalf("%d of %d IDs have run", len(ran), len(all))
		}
		stop = start()
		if w.ranAll(all, ran) {
			break
		}
	}
	stop()
	w.report(all, ran)
}

// ranAll waits until every intent has run, or none has for longer than it takes
// to find a stuck job, and counts the runs.
func (w *testEnv[TTx]) ranAll(all []core.Intent, ran map[string]int) bool {
	const idle = 5 * time.Second
	before, changed := 0, time.Now()
	for time.Since(changed) < idle {
		clear(ran)
		for _, r := range w.await(0) {
			ran[r.job.ID]++
		}
		if len(ran) >= len(all) {
			return true
		}
		if len(ran) > before {
			before, changed = len(ran), time.Now()
		}
		time.Sleep(20 * time.Millisecond)
	}
	return false
}

// report prints the ledger and demands that it balances.
func (w *testEnv[TTx]) report(all []core.Intent, ran map[string]int) {
	w.Helper()
	number := func(query string) int {
		n, err := w.store.number(w.Context(), query)
		must(w, err)
		return n
	}
	stored := number("SELECT count(*) FROM river_job")
	ids := number("SELECT count(DISTINCT metadata->'airlock'->>'id') FROM river_job")
	lost, phantom, twice := 0, len(ran), 0
	for _, in := range all {
		switch n := ran[in.ID]; {
		case n == 0:
			lost++
		case n > 1:
			twice++
			phantom--
		default:
			phantom--
		}
	}
	w.Logf("ledger: acknowledged %d, stored %d under %d IDs, lost %d, phantom %d, ran twice for a lost acknowledgement %d",
		len(all), stored, ids, lost, phantom, twice)
	if stored != len(all) || ids != len(all) || lost != 0 || phantom != 0 {
		w.Error("the ledger does not balance")
	}
}
