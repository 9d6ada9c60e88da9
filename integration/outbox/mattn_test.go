//go:build realservers && cgo

package outbox_test

import (
	"path/filepath"
	"testing"

	_ "github.com/mattn/go-sqlite3" // the driver sqlite3

	"github.com/goairlock/airlock/outbox"
)

// TestWithMattnSQLite is TestOnSQLite with another driver, which is C.
func TestWithMattnSQLite(t *testing.T) {
	t.Parallel()
	runScenarios(t, func(tb testing.TB) *world {
		return openServer(tb, outbox.SQLite, "sqlite3", "file:"+filepath.Join(tb.TempDir(), "shop.db")+"?_journal_mode=WAL&_busy_timeout=10000&_txlock=immediate&_synchronous=OFF")
	})
}
