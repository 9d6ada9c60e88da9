package outbox_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/airlocksql"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/outbox"
)

// Programs of the ledger test: writers and relays of an outbox, ordered or not, with the
// right clock or with one that is 26 years behind.
func init() {
	for _, isOrdered := range []bool{false, true} {
		for _, wrongClock := range []bool{false, true} {
			for what, run := range map[string]func(*testing.T, *world, bool){"writer": writeOrders, "relay": relayOrders} {
				roles[ledgerRole(what, isOrdered, wrongClock)] = func(t *testing.T, w *world) {
					if !wrongClock {
						run(t, w, isOrdered)
					}
					synctest.Test(t, func(t *testing.T) {
						db, err := sql.Open(w.driver, w.source)
						must(t, err)
						run(t, &world{w.dialect, db, w.driver, w.source}, isOrdered)
					})
				}
			}
		}
	}
}

func ledgerRole(what string, isOrdered, wrongClock bool) string {
	return fmt.Sprintf("ledger %s, ordered %v, wrong clock %v", what, isOrdered, wrongClock)
}

func (w *world) ledgerBox(t *testing.T, isOrdered bool) *outbox.Box {
	t.Helper()
	opts := &outbox.Options{For: w.book(), DB: outbox.SQL(w.db), Lease: time.Second, Logger: quiet}
	if isOrdered {
		ordered(opts)
	}
	box, err := outbox.New(w.dialect, opts)
	must(t, err)
	return box
}

// writeOrders is one customer, whose orders have numbers. A transaction that fails is no
// order.
func writeOrders(t *testing.T, w *world, isOrdered bool) {
	box := w.ledgerBox(t, isOrdered)
	customer := strconv.Itoa(os.Getpid())
	for n := 0; ; n++ {
		// A backlog proves nothing more, and an ordered one takes long.
		for waiting := int64(301); n%20 == 0 && waiting > 300; time.Sleep(10 * time.Millisecond) {
			_ = w.db.QueryRowContext(t.Context(), "SELECT count(*) FROM airlock_outbox").Scan(&waiting)
		}
		_ = airlocksql.RunTx(t.Context(), w.db, nil, nil, func(ctx context.Context, tx *sql.Tx) error {
			if _, err := tx.ExecContext(ctx, fmt.Sprintf("INSERT INTO orders VALUES ('%s', %d)", customer, n)); err != nil {
				return err
			}
			return airlock.Enqueue(ctx, task, fmt.Sprintf("%s %d", customer, n), core.Header("Customer", customer))
		}, airlocksql.Outbox(box))
	}
}

func relayOrders(t *testing.T, w *world, isOrdered bool) {
	relay, err := outbox.NewRelay(w.ledgerBox(t, isOrdered), outbox.SQL(w.db), w.book(), &outbox.RelayOptions{Batch: 50, Lease: time.Second, Poll: 20 * time.Millisecond, Logger: quiet})
	must(t, err)
	_ = relay.Run(t.Context())
}

// book is a queue in tables of the same database: one row per dispatch. It can be down,
// and some of its answers are lost.
func (w *world) book() core.Executor {
	var calls atomic.Int64
	return adapter.Guard(newQueue().caps, func(ctx context.Context, in ...core.Intent) error {
		var down int
		if err := w.db.QueryRowContext(ctx, "SELECT down FROM queue").Scan(&down); err != nil || down != 0 {
			return core.Combine(core.Outcomes(in, core.NotSent, errDown))
		}
		for i := range in {
			arg, err := task.Args(in[i])
			customer, n, _ := strings.Cut(arg, " ")
			if err == nil {
				_, err = w.db.ExecContext(ctx, fmt.Sprintf("INSERT INTO book (id, customer, n) VALUES ('%s', '%s', %s)", in[i].ID, customer, n))
			}
			if err != nil {
				out := core.Outcomes(in, core.Accepted, nil)
				for k := i; k < len(in); k++ {
					out[k] = in[k].Outcome(core.Unknown, errors.New("the book failed"))
				}
				return core.Combine(out)
			}
		}
		if calls.Add(1)%300 == 0 {
			return core.Combine(core.Outcomes(in, core.Unknown, errors.New("the answer is lost")))
		}
		return nil
	})
}

// chaosLedger kills, stops and starts writers and relays, and takes the queue away, until
// there are enough orders. Then every order has its job, and no job is without its order.
// If the outbox is ordered, the jobs of a customer came in order.
func chaosLedger(t *testing.T, w *world, isOrdered bool) {
	want := int64(300)
	if text := os.Getenv("CONFORMANCE_EFFORT"); text != "" && text != "1" {
		want = 10000
	}
	key := map[outbox.Dialect]string{outbox.Postgres: "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY", outbox.SQLite: "integer PRIMARY KEY AUTOINCREMENT",
		outbox.MySQL: "bigint AUTO_INCREMENT PRIMARY KEY"}[w.dialect]
	w.exec(t, "CREATE TABLE orders (customer varchar(40), n integer)")
	w.exec(t, "CREATE TABLE book (seq "+key+", id varchar(40), customer varchar(40), n integer)")
	w.exec(t, "CREATE TABLE queue (down integer)")
	w.exec(t, "INSERT INTO queue VALUES (0)")
	box := w.ledgerBox(t, isOrdered)
	must(t, box.CreateTable(t.Context(), outbox.SQL(w.db)))
	var names []string
	for _, wrongClock := range []bool{false, true} {
		names = append(names, ledgerRole("writer", isOrdered, wrongClock), ledgerRole("relay", isOrdered, wrongClock))
	}
	children := make([]*child, len(names))
	for i, name := range names {
		children[i] = w.start(t, name)
	}
	killed, stopped, outages := 0, 0, 0
	for orders := int64(0); orders < want || killed < 4; orders = w.number(t, "SELECT count(*) FROM orders") {
		time.Sleep(time.Duration(100+rand.IntN(200)) * time.Millisecond)
		i := rand.IntN(len(children))
		switch rand.IntN(6) {
		case 0:
			must(t, children[i].cmd.Process.Signal(syscall.SIGSTOP))
			time.Sleep(1500 * time.Millisecond) // longer than its lease
			must(t, children[i].cmd.Process.Signal(syscall.SIGCONT))
			stopped++
		case 1:
			w.exec(t, "UPDATE queue SET down = 1")
			time.Sleep(500 * time.Millisecond)
			w.exec(t, "UPDATE queue SET down = 0")
			outages++
		default:
			children[i].kill(nil)
			children[i] = w.start(t, names[i])
			killed++
		}
	}
	for _, c := range children {
		c.kill(nil)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	relay, err := outbox.NewRelay(box, outbox.SQL(w.db), w.book(), &outbox.RelayOptions{Poll: 20 * time.Millisecond, Logger: quiet})
	must(t, err)
	go func() { done <- relay.Run(ctx) }()
	for last := int64(-1); ; { // as long as it goes on
		left := w.number(t, "SELECT count(*) FROM airlock_outbox")
		if left == 0 || left == last {
			break
		}
		last = left
		for end := time.Now().Add(patience); w.number(t, "SELECT count(*) FROM airlock_outbox") == last && time.Now().Before(end); {
			time.Sleep(10 * time.Millisecond)
		}
	}
	cancel()
	must(t, <-done)
	orders := w.number(t, "SELECT count(*) FROM orders")
	for what, query := range map[string]string{
		"rows are left in the outbox": "SELECT count(*) FROM airlock_outbox",
		"orders have no job":          "SELECT count(*) FROM orders LEFT JOIN book ON book.customer = orders.customer AND book.n = orders.n WHERE book.id IS NULL",
		"jobs have no order":          "SELECT count(*) FROM book LEFT JOIN orders ON book.customer = orders.customer AND book.n = orders.n WHERE orders.n IS NULL",
	} {
		if n := w.number(t, query); n != 0 {
			t.Errorf("%d %s, of %d orders", n, what, orders)
		}
	}
	if n := w.number(t, "SELECT count(DISTINCT id) FROM book"); n != orders {
		t.Errorf("%d IDs for %d orders", n, orders)
	}
	if isOrdered {
		w.inOrder(t)
	}
	t.Logf("ordered %v: %d orders, %d dispatches, %d processes killed, %d stopped beyond the lease, the queue down %d times",
		isOrdered, orders, w.number(t, "SELECT count(*) FROM book"), killed, stopped, outages)
}

// inOrder fails the test if the first dispatches of a customer's orders were not in their
// order.
func (w *world) inOrder(t *testing.T) {
	t.Helper()
	rows, err := w.db.QueryContext(t.Context(), "SELECT customer, n FROM book ORDER BY seq")
	must(t, err)
	defer rows.Close()
	seen, last := make(map[string]bool), make(map[string]int)
	for rows.Next() {
		var customer string
		var n int
		must(t, rows.Scan(&customer, &n))
		key := fmt.Sprint(customer, " ", n)
		if !seen[key] && seen[customer] && n < last[customer] {
			t.Errorf("customer %s: order %d after %d", customer, n, last[customer])
		}
		if !seen[key] {
			seen[key], seen[customer], last[customer] = true, true, n
		}
	}
	must(t, rows.Err())
}

func TestChaosLedgerOnSQLite(t *testing.T) {
	t.Parallel()
	for _, isOrdered := range []bool{false, true} {
		t.Run(fmt.Sprintf("ordered %v", isOrdered), func(t *testing.T) {
			t.Parallel()
			chaosLedger(t, newSQLite(t), isOrdered)
		})
	}
}
