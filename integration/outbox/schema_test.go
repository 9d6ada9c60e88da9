package outbox_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/outbox"
)

var (
	_ = add("tables that are missing, foreign, older or newer", func(t *testing.T, w *world) {
		q := newQueue()
		box, err := outbox.New(w.dialect, &outbox.Options{For: q.exec()})
		must(t, err)
		db := outbox.SQL(w.db)
		wants := func(want error) {
			t.Helper()
			if err := box.CheckTable(t.Context(), db); !errors.Is(err, want) {
				t.Errorf("CheckTable: %v, want %v", err, want)
			}
			relay, err := outbox.NewRelay(box, db, q.exec(), &outbox.RelayOptions{Logger: quiet})
			must(t, err)
			if want != nil {
				if err := relay.Run(t.Context()); !errors.Is(err, want) {
					t.Errorf("Run: %v, want %v", err, want)
				}
			}
		}
		wants(outbox.ErrNoTable)
		w.exec(t, "CREATE TABLE airlock_outbox (id integer)")
		wants(outbox.ErrForeignTable)
		if err := box.CreateTable(t.Context(), db); !errors.Is(err, outbox.ErrForeignTable) {
			t.Errorf("CreateTable: %v", err)
		}
		w.exec(t, "DROP TABLE airlock_outbox")
		must(t, box.CreateTable(t.Context(), db))
		must(t, box.CreateTable(t.Context(), db)) // changes nothing
		wants(nil)
		w.exec(t, "UPDATE airlock_outbox_meta SET version = 99 WHERE part = -1")
		wants(outbox.ErrNewSchema)
		if err := box.CreateTable(t.Context(), db); !errors.Is(err, outbox.ErrNewSchema) {
			t.Errorf("CreateTable: %v", err)
		}
		w.exec(t, "UPDATE airlock_outbox_meta SET version = 0 WHERE part = -1")
		wants(outbox.ErrOldSchema)
		w.exec(t, "DELETE FROM airlock_outbox_meta WHERE part = -1")
		wants(outbox.ErrNoTable) // incomplete
		must(t, box.CreateTable(t.Context(), db))
		wants(nil)
	})
	_ = add("several processes create the table at a time", func(t *testing.T, w *world) {
		q := newQueue()
		box, err := outbox.New(w.dialect, &outbox.Options{For: q.exec()})
		must(t, err)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if err := box.CreateTable(t.Context(), outbox.SQL(w.db)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := w.number(t, "SELECT count(*) FROM airlock_outbox_meta"); n != 65 {
			t.Errorf("%d rows in the meta table", n)
		}
	})
	_ = add("an ended transaction stores nothing and says so", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q)
		tx, err := w.db.BeginTx(t.Context(), nil)
		must(t, err)
		must(t, tx.Rollback())
		in := intents(t, 2)
		err = box.InTx(outbox.SQL(tx))(t.Context(), in...)
		for _, o := range core.OutcomesOf(err, in) {
			if o.State != core.NotSent {
				t.Errorf("outcome %v: %v", o.State, o.Err)
			}
		}
	})
	_ = add("a read-only transaction stores nothing and says so", func(t *testing.T, w *world) {
		if w.dialect == outbox.SQLite {
			t.Skip("modernc.org/sqlite has no read-only transactions") // TestAReadOnlyFile has the case
		}
		q := newQueue()
		box := w.box(t, q)
		tx, err := w.db.BeginTx(t.Context(), &readOnly)
		must(t, err)
		defer tx.Rollback()
		in := intent(t, "a")
		if err := box.InTx(outbox.SQL(tx))(t.Context(), in); !errors.Is(err, core.ErrNotSent) {
			t.Errorf("error %v", err)
		}
	})
)
