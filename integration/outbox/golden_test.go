package outbox_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/outbox"
)

// storedRow is what a release has stored of an intent: the columns of goldenColumns. The times are not in it.
type storedRow struct {
	id, dest        string
	part            sql.NullInt64
	task, queue     string
	intent          string
	state, attempts int64
	reason          string
}

// goldenRow is a row of an earlier release, or of this one.
type goldenRow struct {
	opts    []core.Option // nil for a row that a relay has written
	ordered bool          // by an outbox with Ordered
	storedRow
}

// goldenRows are rows of v0.1, by their IDs. Change none of them: add those of a later release.
var goldenRows = map[string]goldenRow{
	"plain": {opts: []core.Option{core.ID("plain")}, storedRow: storedRow{
		id: "plain", dest: "jobs", task: "test.outbox",
		intent: `{"v":1,"id":"plain","task":"test.outbox","payload":"IkEtMSI="}`,
	}},
	"full": {
		opts: []core.Option{
			core.ID("full"), core.Queue("mail"), core.Priority(7), core.MaxAttempts(5), core.Backoff(core.Exponential(time.Second, time.Minute)),
			core.Timeout(1500 * time.Millisecond), core.Deadline(time.Date(2099, 1, 2, 15, 4, 5, 6, time.UTC)),
			core.Unique("a key"), core.Header("Color", "red"),
		},
		storedRow: storedRow{
			id: "full", dest: "jobs", task: "test.outbox", queue: "mail",
			intent: `{"v":1,"id":"full","max_attempts":5,"backoff":["1s","1m0s"],"timeout":"1.5s","deadline":"2099-01-02T15:04:05.000000006Z",` +
				`"unique":"a key","headers":{"Color":"red"},"task":"test.outbox","queue":"mail","priority":7,"payload":"IkEtMSI="}`,
		},
	},
	"ordered": {opts: []core.Option{core.ID("ordered"), core.Queue("mail")}, ordered: true, storedRow: storedRow{
		id: "ordered", dest: "jobs", task: "test.outbox", queue: "mail", part: sql.NullInt64{Int64: 8, Valid: true},
		intent: `{"v":1,"id":"ordered","task":"test.outbox","queue":"mail","payload":"IkEtMSI="}`,
	}},
	"dead": {storedRow: storedRow{
		id: "dead", dest: "jobs", task: "test.outbox", state: 1, attempts: 3, reason: "rejected: no such queue",
		intent: `{"v":1,"id":"dead","task":"test.outbox","payload":"IkEtMSI="}`,
	}},
}

const goldenColumns = "id, dest, part, task, queue, intent, state, attempts, reason"

func readGolden(t *testing.T, w *world, id string) (r storedRow) {
	t.Helper()
	var intent []byte
	must(t, w.db.QueryRowContext(t.Context(), "SELECT "+goldenColumns+" FROM airlock_outbox WHERE id = '"+id+"'").
		Scan(&r.id, &r.dest, &r.part, &r.task, &r.queue, &intent, &r.state, &r.attempts, &r.reason))
	r.intent = string(intent)
	return r
}

func goldenBox(t *testing.T, w *world, q *queue, ordered bool) *outbox.Box {
	t.Helper()
	return w.box(t, q, func(o *outbox.Options) { o.Destination, o.Ordered = "jobs", ordered })
}

var (
	_ = add("rows are stored as every release stored them", func(t *testing.T, w *world) {
		for id, g := range goldenRows {
			if g.opts == nil {
				continue
			}
			w.store(t, goldenBox(t, w, newQueue(), g.ordered), intent(t, "A-1", g.opts...))
			if got := readGolden(t, w, id); got != g.storedRow {
				t.Errorf("%s is now stored as\n%+v, was\n%+v", id, got, g.storedRow)
			}
		}
	})
	_ = add("a relay sends the rows of every release", func(t *testing.T, w *world) {
		for _, ordered := range []bool{false, true} { // each relay also sends what the other kind of outbox has stored
			q := newQueue()
			box := goldenBox(t, w, q, ordered)
			waiting := 0
			for _, g := range goldenRows {
				g.insert(t, w)
				if g.state == 0 {
					waiting++
				}
			}
			stop := w.relay(t, box, q)
			q.await(t, waiting)
			stop()
			for _, in := range q.got {
				got, err := json.Marshal(in)
				must(t, err)
				if want := goldenRows[in.ID].intent; string(got) != want {
					t.Errorf("ordered %v: sent was %s, stored was %s", ordered, got, want)
				}
			}
			rows, err := box.List(t.Context(), outbox.SQL(w.db), 0, 10)
			must(t, err)
			if len(rows) != 1 || rows[0].ID != "dead" || rows[0].Reason != goldenRows["dead"].reason || rows[0].Attempts != 3 {
				t.Errorf("ordered %v: dead rows: %+v", ordered, rows)
			}
			w.exec(t, "DELETE FROM airlock_outbox")
		}
	})
)

// insert writes the row as the release has, an hour ago.
func (r storedRow) insert(t *testing.T, w *world) {
	t.Helper()
	text := func(s string) string { return "'" + s + "'" }
	bytes := map[outbox.Dialect]string{outbox.Postgres: "convert_to(%s, 'UTF8')", outbox.SQLite: "CAST(%s AS BLOB)", outbox.MySQL: "%s"}[w.dialect]
	hourAgo := fmt.Sprint(time.Now().Add(-time.Hour).UnixMicro())
	part, due := "NULL", hourAgo
	if r.part.Valid {
		part = fmt.Sprint(r.part.Int64)
	}
	if r.state != 0 {
		due = "NULL"
	}
	w.exec(t, "INSERT INTO airlock_outbox ("+goldenColumns+", created, not_before, due) VALUES ("+strings.Join([]string{
		text(r.id), text(r.dest), part, text(r.task), text(r.queue), fmt.Sprintf(bytes, text(r.intent)),
		fmt.Sprint(r.state), fmt.Sprint(r.attempts), text(r.reason), hourAgo, hourAgo, due,
	}, ", ")+")")
}
