package outbox_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/goairlock/airlock/outbox"
)

// spy records the statements of a relay.
type spy struct {
	outbox.DB
	mu         *sync.Mutex
	statements *[]recorded // guarded by mu
}

type recorded struct {
	text string
	args []any
}

func (s spy) note(text string, args []any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*s.statements = append(*s.statements, recorded{text, args})
}

func (s spy) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	s.note(query, args)
	return s.DB.Exec(ctx, query, args...)
}

func (s spy) Query(ctx context.Context, query string, args ...any) (outbox.Rows, error) {
	s.note(query, args)
	return s.DB.Query(ctx, query, args...)
}

func (s spy) Transact(ctx context.Context, fn func(outbox.Tx) error) error {
	return s.DB.Transact(ctx, func(tx outbox.Tx) error { return fn(spyTx{tx, s}) })
}

type spyTx struct {
	outbox.Tx
	spy spy
}

func (s spyTx) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	s.spy.note(query, args)
	return s.Tx.Exec(ctx, query, args...)
}

func (s spyTx) Query(ctx context.Context, query string, args ...any) (outbox.Rows, error) {
	s.spy.note(query, args)
	return s.Tx.Query(ctx, query, args...)
}

// relayStatements returns what a relay runs to send ten rows.
func (w *world) relayStatements(t *testing.T, q *queue, box *outbox.Box, batch int) []recorded {
	t.Helper()
	var all []recorded
	db := spy{outbox.SQL(w.db), new(sync.Mutex), &all}
	ctx, cancel := context.WithCancel(t.Context())
	relay, err := outbox.NewRelay(box, db, q.exec(), &outbox.RelayOptions{Batch: batch, Logger: quiet, StalledAfter: -1,
		Observer: func(outbox.Report) { cancel() }})
	must(t, err)
	must(t, relay.Run(ctx))
	var own []recorded
	for _, s := range all {
		if strings.Contains(s.text, "airlock_outbox") && strings.Contains(s.text, "due") && !strings.Contains(s.text, "1 = 0") || strings.HasPrefix(s.text, "DELETE") {
			own = append(own, s)
		}
	}
	if len(own) < 2 {
		t.Fatalf("only %d statements of a relay: %v", len(own), all)
	}
	return own
}

func (w *world) explain(t *testing.T, s recorded) string {
	t.Helper()
	how := "EXPLAIN "
	if w.dialect == outbox.SQLite {
		how = "EXPLAIN QUERY PLAN "
	}
	rows, err := w.db.QueryContext(t.Context(), how+s.text, s.args...)
	must(t, err)
	defer rows.Close()
	columns, err := rows.Columns()
	must(t, err)
	var text strings.Builder
	for rows.Next() {
		values := make([]any, len(columns))
		for i := range values {
			values[i] = new(any)
		}
		must(t, rows.Scan(values...))
		for _, v := range values {
			if b, ok := (*v.(*any)).([]byte); ok {
				text.WriteString(string(b) + " ")
			} else if s, ok := (*v.(*any)).(string); ok {
				text.WriteString(s + " ")
			}
		}
		text.WriteString("\n")
	}
	must(t, rows.Err())
	return text.String()
}

func TestAClaimReadsAnIndexOnSQLite(t *testing.T) {
	t.Parallel()
	w := newSQLite(t)
	q := newQueue()
	for _, ordered := range []bool{false, true} {
		box := w.box(t, q, func(o *outbox.Options) { o.Ordered = ordered })
		w.store(t, box, intents(t, 20)...)
		for _, s := range w.relayStatements(t, q, box, 10) {
			plan := w.explain(t, s)
			// The list of rows, 65 rows, and the bounded list that a claim sums up.
			scans := strings.NewReplacer("SCAN json_each", "", "SCAN m", "", "SCAN locked", "", "SCAN (subquery", "", "SCAN sized", "").Replace(plan)
			if strings.Contains(scans, "SCAN") && !strings.Contains(scans, "SCAN airlock_outbox_meta") && !strings.Contains(scans, "SCAN p") {
				t.Errorf("%s\n%s", s.text, plan)
			}
			if strings.Contains(s.text, "ORDER BY due, seq") && !ordered && (!strings.Contains(plan, "airlock_outbox_due") || strings.Contains(plan, "TEMP B-TREE")) {
				t.Errorf("the claim does not use the index: %s\n%s", s.text, plan)
			}
		}
	}
}
