package outbox_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/outbox"
)

// patience bounds every wait for something that must happen.
const patience = time.Minute

var (
	quiet = slog.New(slog.DiscardHandler)
	task  = core.DeclareTask[string]("test.outbox")
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func intent(t testing.TB, arg string, opts ...core.Option) core.Intent {
	t.Helper()
	in, err := task.Intent(arg, opts...)
	must(t, err)
	return in
}

func intents(t testing.TB, n int, opts ...core.Option) []core.Intent {
	t.Helper()
	all := make([]core.Intent, n)
	for i := range all {
		all[i] = intent(t, fmt.Sprint(i), opts...)
	}
	return all
}

// queue is an executor that remembers what it has accepted, in order, and that fails
// as a test asks.
type queue struct {
	mu    sync.Mutex
	got   []core.Intent                               // guarded by mu; every accepted dispatch
	calls int                                         // guarded by mu
	fail  func(call int, intents []core.Intent) error // guarded by mu; nil: nothing fails
	woken chan struct{}                               // guarded by mu; closed by the next call
	caps  core.Capabilities
}

func newQueue(change ...func(*core.Capabilities)) *queue {
	q := &queue{woken: make(chan struct{}), caps: core.Capabilities{
		Executor: "test", Options: map[core.OptionName]core.Claim{}, Durability: core.DurabilityBroker, Delivery: core.GuaranteeAtLeastOnce,
		IDWindow: core.Window{Kind: core.WindowStored, Survives: core.SurvivalRestart},
	}}
	for _, name := range core.PortableOptions() {
		q.caps.Options[name] = core.Claim{Support: core.SupportNative}
	}
	for _, f := range change {
		f(&q.caps)
	}
	return q
}

func refuseDelay(caps *core.Capabilities) { delete(caps.Options, core.OptionDelay) }

func (q *queue) exec() core.Executor {
	return adapter.Guard(q.caps, func(_ context.Context, intents ...core.Intent) error {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.calls++
		close(q.woken)
		q.woken = make(chan struct{})
		var err error
		if q.fail != nil {
			fail, call := q.fail, q.calls
			q.mu.Unlock()
			err = fail(call, intents)
			q.mu.Lock()
		}
		for i, o := range core.OutcomesOf(err, intents) {
			if o.State == core.Accepted {
				q.got = append(q.got, intents[i])
			}
		}
		return err
	})
}

func (q *queue) setFail(fail func(call int, intents []core.Intent) error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.fail = fail
}

func (q *queue) ids() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	ids := make([]string, len(q.got))
	for i, in := range q.got {
		ids[i] = in.ID
	}
	return ids
}

func (q *queue) numberOfCalls() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.calls
}

// await waits until n intents have been accepted.
func (q *queue) await(t testing.TB, n int) []string {
	t.Helper()
	waitFor(t, fmt.Sprintf("%d intents", n), func() bool { return len(q.ids()) >= n })
	return q.ids()
}

func waitFor(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// world is an empty database.
type world struct {
	dialect outbox.Dialect
	db      *sql.DB
	driver  string // what child processes open
	source  string
}

// box makes an outbox for the queue, and its table.
func (w *world) box(t testing.TB, q *queue, change ...func(*outbox.Options)) *outbox.Box {
	t.Helper()
	opts := &outbox.Options{For: q.exec(), DB: outbox.SQL(w.db), Logger: quiet}
	for _, f := range change {
		f(opts)
	}
	box, err := outbox.New(w.dialect, opts)
	must(t, err)
	must(t, box.CreateTable(t.Context(), outbox.SQL(w.db)))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		must(t, box.Close(ctx))
	})
	return box
}

// store commits a transaction with these intents, for a relay to send.
func (w *world) store(t testing.TB, box *outbox.Box, intents ...core.Intent) {
	t.Helper()
	tx, err := w.db.BeginTx(t.Context(), nil)
	must(t, err)
	defer tx.Rollback()
	must(t, box.InTx(outbox.SQL(tx))(t.Context(), intents...))
	must(t, tx.Commit())
	box.Wake()
}

// relay runs a relay until the test's end, or until stop is called.
func (w *world) relay(t testing.TB, box *outbox.Box, q *queue, change ...func(*outbox.RelayOptions)) (stop func()) {
	t.Helper()
	opts := &outbox.RelayOptions{Poll: 20 * time.Millisecond, Logger: quiet}
	for _, f := range change {
		f(opts)
	}
	relay, err := outbox.NewRelay(box, outbox.SQL(w.db), q.exec(), opts)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- relay.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-done:
				if err != nil {
					t.Errorf("Run: %v", err)
				}
			case <-time.After(patience):
				t.Error("the relay does not stop")
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

func (w *world) stats(t testing.TB, box *outbox.Box) outbox.Stats {
	t.Helper()
	stats, err := box.Stats(t.Context(), outbox.SQL(w.db))
	must(t, err)
	stats.Oldest = 0
	return stats
}

// awaitStats waits until the rows are counted like this.
func (w *world) awaitStats(t testing.TB, box *outbox.Box, want outbox.Stats) {
	t.Helper()
	var got outbox.Stats
	defer func() {
		if t.Failed() {
			t.Logf("stats %+v, want %+v", got, want)
		}
	}()
	waitFor(t, "stats", func() bool { got = w.stats(t, box); return got == want })
}

func (w *world) exec(t testing.TB, statement string) {
	t.Helper()
	_, err := w.db.ExecContext(t.Context(), statement)
	must(t, err)
}

func (w *world) number(t testing.TB, query string) (n int64) {
	t.Helper()
	must(t, w.db.QueryRowContext(t.Context(), query).Scan(&n))
	return n
}

func newSQLite(t testing.TB) *world {
	t.Helper()
	return openSQLite(t, "file:"+filepath.Join(t.TempDir(), "shop.db")+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(10000)&_txlock=immediate&_pragma=synchronous(OFF)")
}

func openSQLite(t testing.TB, source string) *world {
	t.Helper()
	db, err := sql.Open("sqlite", source)
	must(t, err)
	t.Cleanup(func() { db.Close() })
	return &world{outbox.SQLite, db, "sqlite", source}
}

// scenario is a test that runs on every database.
type scenario struct {
	name string
	run  func(t *testing.T, w *world)
}

// scenarios are added by the files that define them.
var scenarios []scenario

func add(name string, run func(t *testing.T, w *world)) bool {
	scenarios = append(scenarios, scenario{name, run})
	return true
}

// runScenarios runs several at a time. Most of them wait for a lease, so their number
// does not depend on that of the processors, as with t.Parallel.
func runScenarios(t *testing.T, open func(testing.TB) *world) {
	slots := make(chan struct{}, 8)
	var wg sync.WaitGroup
	for _, s := range scenarios {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			t.Run(s.name, func(t *testing.T) { s.run(t, open(t)) })
		})
	}
	wg.Wait()
}

func TestOnSQLite(t *testing.T) {
	t.Parallel()
	runScenarios(t, newSQLite)
}

var errDown = fmt.Errorf("test: %w", core.ErrUnavailable)

func isOption(err error, name core.OptionName) bool {
	var oe *core.OptionError
	return errors.As(err, &oe) && oe.Option == name
}

var readOnly = sql.TxOptions{ReadOnly: true}
