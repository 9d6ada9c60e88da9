//go:build realservers

package outbox_test

import (
	"strings"
	"testing"

	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/outbox"
)

// With a million rows a claim reads an index, whether or not the database has
// counted the rows of the table.
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
	fill("test", "NULL", "1000000")
	fill("other", "n % 64", "200000")
	other := w.box(t, q, ordered, func(o *outbox.Options) { o.Destination = "other" })
	for _, counted := range []string{"", "ANALYZE airlock_outbox"} {
		if counted != "" {
			w.exec(t, counted)
		}
		for name, b := range map[string]*outbox.Box{"unordered": box, "ordered": other} {
			for _, s := range w.relayStatements(t, q, b) {
				if strings.Contains(s.text, "seq > ") {
					continue // the look for all rows without a partition, once a minute
				}
				plan := w.explain(t, s)
				onMeta := strings.ReplaceAll(plan, "Seq Scan on airlock_outbox_meta", "") // 65 rows
				if strings.Contains(onMeta, "Seq Scan") || strings.Contains(plan, "Bitmap Heap Scan on airlock_outbox ") && !strings.Contains(plan, "airlock_outbox_pkey") {
					t.Errorf("%s, counted %v: %s\n%s", name, counted != "", s.text, plan)
				}
				if strings.Contains(s.text, "SKIP LOCKED") && name == "unordered" && !strings.Contains(plan, "airlock_outbox_due") {
					t.Errorf("the claim does not use the index:\n%s", plan)
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
	for _, s := range w.relayStatements(t, q, box) {
		if !strings.HasPrefix(s.text, "SELECT") {
			continue
		}
		if plan := w.explain(t, s); !strings.Contains(plan, "airlock_outbox_due") || strings.Contains(plan, "filesort") {
			t.Errorf("%s\n%s", s.text, plan)
		}
	}
}
