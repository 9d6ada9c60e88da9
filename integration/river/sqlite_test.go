package river_test

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mattn/go-sqlite3"
	"github.com/riverqueue/river/riverdriver/riversqlite"

	"github.com/goairlock/airlock/core"
	riverexec "github.com/goairlock/airlock/executors/river"
	"github.com/goairlock/airlock/worker"
)

// TestSQLiteErrorsAreUnderstood is about both of the drivers that people use.
func TestSQLiteErrorsAreUnderstood(t *testing.T) {
	t.Parallel()
	for driver, settings := range map[string]string{
		"sqlite":  "?_pragma=busy_timeout(20)&_pragma=journal_mode(WAL)",
		"sqlite3": "?_busy_timeout=20&_journal_mode=WAL",
	} {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			if driver == "sqlite3" {
				skipWithoutCgo(t)
			}
			file := filepath.Join(t.TempDir(), "river.db")
			w := setup(t, sqliteWith(t, driver, file, settings), nil)
			in := w.intent(`{"n":1}`, core.ID("one"))
			w.wantStates(w.states(w.exec.Execute, in, w.intent("2")), core.Accepted, core.Accepted)
			w.wantStates(w.states(w.exec.Execute, in), core.Duplicate)

			// Another process is writing.
			other, err := sql.Open(driver, "file:"+file+settings)
			must(t, err)
			defer other.Close()
			lock, err := other.Conn(t.Context())
			must(t, err)
			_, err = lock.ExecContext(t.Context(), "BEGIN IMMEDIATE")
			must(t, err)
			w.wantStates(w.states(w.exec.Execute, w.intent("3")), core.NotSent)
			if driver == "sqlite3" {
				err := w.exec.Execute(t.Context(), w.intent("3"))
				var busy sqlite3.Error
				if !errors.As(err, &busy) || busy.Code != sqlite3.ErrBusy {
					t.Errorf("the driver's error is not reachable: %v", err)
				}
			}
			_, err = lock.ExecContext(t.Context(), "ROLLBACK")
			must(t, err)
			must(t, lock.Close())

			w.refuseOdd()
			w.wantStates(w.states(w.exec.Execute, w.intent(`{"odd":true}`), w.intent("4")), core.Rejected, core.NotSent)

			w.run(w.registry(worker.Handle(raw, w.note)), nil)
			w.await(2)

			// A file that cannot be opened, and one that cannot be written.
			locked := func(location string) *riverexec.Executor[*sql.Tx] {
				db, err := sql.Open(driver, "file:"+location)
				must(t, err)
				t.Cleanup(func() { _ = db.Close() })
				exec, err := riverexec.New(insertOnly(t, riversqlite.New(db), ""), nil)
				must(t, err)
				return exec
			}
			missing := locked(filepath.Join(t.TempDir(), "no", "such", "folder", "river.db"))
			wantIs(t, missing.Execute(t.Context(), w.intent("5")), core.ErrUnavailable)
			w.wantStates(w.states(missing.Execute, w.intent("5")), core.NotSent)
			unmigrated := locked(filepath.Join(t.TempDir(), "empty.db"))
			w.wantStates(w.states(unmigrated.Execute, w.intent("6")), core.NotSent)
			if err := unmigrated.CheckServer(t.Context()); err == nil || !strings.Contains(err.Error(), "tables are missing") {
				t.Errorf("CheckServer: %v", err)
			}
			readOnly := locked(file + "?mode=ro")
			w.wantStates(w.states(readOnly.Execute, w.intent("7")), core.NotSent)
			noFile := filepath.Join(t.TempDir(), "text.db")
			must(t, os.WriteFile(noFile, []byte(strings.Repeat("no database ", 100)), 0o600))
			w.wantStates(w.states(locked(noFile).Execute, w.intent("8")), core.NotSent)
		})
	}
}

// skipWithoutCgo skips where mattn's driver is a stub.
func skipWithoutCgo(t *testing.T) {
	t.Helper()
	db, err := sql.Open("sqlite3", ":memory:")
	must(t, err)
	defer db.Close()
	if err := db.Ping(); err != nil && strings.Contains(err.Error(), "CGO_ENABLED=0") {
		t.Skip("mattn/go-sqlite3 needs cgo")
	}
}

func TestCheckServerKnowsWhatSQLiteForgets(t *testing.T) {
	t.Parallel()
	for settings, want := range map[string]string{
		"?_pragma=journal_mode(WAL)": "",
		"?_pragma=synchronous(OFF)":  "synchronous is OFF",
		"?_pragma=journal_mode(OFF)": "journal_mode is off",
		"?mode=memory&cache=shared":  "in memory",
	} {
		s := sqliteWith(t, "sqlite", filepath.Join(t.TempDir(), "river.db"), settings)
		exec, err := riverexec.New(insertOnly(t, s.driver, ""), nil)
		must(t, err)
		if err := exec.CheckServer(t.Context()); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", settings, err, want)
		}
	}
}
