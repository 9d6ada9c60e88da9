//go:build realservers

package outbox_test

import (
	"strings"
	"testing"

	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/outbox"
)

func TestADatabaseThatIsKilledAndComesBack(t *testing.T) {
	t.Parallel()
	server := servers.Postgres(t, servers.PostgresOptions{NoSync: true})
	w := openPostgres(t, server.Database(t))
	q := newQueue()
	box := w.box(t, q)
	all := intents(t, 20)
	w.relay(t, box, q)
	w.store(t, box, all[:10]...)
	q.await(t, 10)
	must(t, server.Kill())
	tx, err := w.db.BeginTx(t.Context(), nil)
	if err == nil { // a connection of the pool that does not know yet
		if err := box.InTx(outbox.SQL(tx))(t.Context(), all[10]); err == nil {
			t.Error("stored in a database that is away")
		}
		_ = tx.Rollback()
	}
	must(t, server.Restart())
	waitFor(t, "the database", func() bool { return w.db.PingContext(t.Context()) == nil })
	w.store(t, box, all[10:]...)
	q.await(t, 20)
	w.awaitStats(t, box, outbox.Stats{})
}

// A relay begins although its database is away, and a relay that the database
// refuses to serialise tries again.
func TestRelaysUnderSerializableIsolation(t *testing.T) {
	t.Parallel()
	server := servers.Postgres(t, servers.PostgresOptions{})
	url := server.Database(t)
	w := openPostgres(t, url)
	name := url[strings.LastIndex(url, "/")+1 : strings.Index(url, "?")]
	w.exec(t, "ALTER DATABASE "+name+" SET default_transaction_isolation = 'serializable'")
	w = openPostgres(t, url) // new connections
	q := newQueue()
	box := w.box(t, q)
	for range 3 {
		w.relay(t, box, q, func(o *outbox.RelayOptions) { o.Batch = 5 })
	}
	for range 10 {
		w.store(t, box, intents(t, 20)...)
	}
	q.await(t, 200)
	w.awaitStats(t, box, outbox.Stats{})
}
