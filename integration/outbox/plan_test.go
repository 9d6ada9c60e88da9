//go:build realservers

package outbox_test

import (
	"strings"
	"testing"

	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/outbox"
)

// A claim reads an index, and no more of it than it takes, whether or not the database
// has counted the rows of the table.
func TestAClaimReadsAnIndexWhateverTheBacklog(t *testing.T) {
	t.Parallel()
	server := servers.Postgres(t, servers.PostgresOptions{})
	w := openPostgres(t, server.Database(t))
	q := newQueue()
	box := w.box(t, q)
	fill := func(dest string, part string, n string) {
		w.exec(t, "INSERT INTO airlock_outbox (id, dest, part, task, queue, intent, created, not_before, due) "+
			"SELECT 'id' || n, '"+dest+"', "+part+", 't', '', 'x', n, n, n FROM generate_series(1, "+n+") AS n")
	}
	other := w.box(t, q, ordered, func(o *outbox.Options) { o.Destination = "other" })
	for _, filled := range []struct{ rows, counted string }{{"20000", ""}, {"1000000", ""}, {"1", "ANALYZE airlock_outbox"}} {
		fill("test", "NULL", filled.rows)
		fill("other", "n % 64", filled.rows)
		if filled.counted != "" {
			w.exec(t, filled.counted)
		}
		for name, b := range map[string]*outbox.Box{"unordered": box, "ordered": other} {
			for _, s := range append(w.relayStatements(t, q, b, 10), w.relayStatements(t, q, b, 1000)...) {
				switch {
				case strings.Contains(s.text, "seq > "):
					continue // the look for all rows without a partition, once a minute
				case strings.Contains(s.text, "WHERE seq = ANY(string_to_array"):
					continue // by key, or the whole table if that has fewer pages than a thousand keys cost
				}
				plan := w.explain(t, s)
				onMeta := strings.ReplaceAll(plan, "Seq Scan on airlock_outbox_meta", "") // 65 rows
				if strings.Contains(onMeta, "Seq Scan") || strings.Contains(plan, "Bitmap Index Scan on airlock_outbox_due") || strings.Contains(plan, "Bitmap Index Scan on airlock_outbox_part") {
					t.Errorf("%s, %s more rows, counted %v: %s\n%s", name, filled.rows, filled.counted != "", s.text, plan)
				}
				index := "Index Scan using airlock_outbox_due"
				if b == other {
					index = "Index Scan using airlock_outbox_part"
				}
				if strings.Contains(s.text, "ORDER BY due, seq") && !strings.Contains(plan, index) {
					t.Errorf("%s, %s more rows, counted %v: a claim does not end with its last row: %s\n%s", name, filled.rows, filled.counted != "", s.text, plan)
				}
			}
		}
	}
}

func TestAClaimReadsAnIndexOnMariaDB(t *testing.T) {
	t.Parallel()
	server := servers.MariaDB(t, servers.MariaDBOptions{})
	w := openMariaDB(t, server.Database(t))
	q := newQueue()
	box := w.box(t, q)
	w.exec(t, "INSERT INTO airlock_outbox (id, dest, task, queue, intent, created, not_before, due) "+
		"SELECT concat('id', seq), 'test', 't', '', 'x', seq, seq, seq FROM seq_1_to_200000")
	for _, s := range w.relayStatements(t, q, box, 1000) {
		if !strings.HasPrefix(s.text, "SELECT") {
			continue
		}
		if plan := w.explain(t, s); !strings.Contains(plan, "airlock_outbox_due") || strings.Contains(plan, "filesort") {
			t.Errorf("%s\n%s", s.text, plan)
		}
	}
}
