package outbox_test

import (
	"testing"

	entsql "entgo.io/ent/dialect/sql"
	"github.com/jmoiron/sqlx"
	"gorm.io/gorm"

	"github.com/goairlock/airlock/outbox"
)

func TestSqlx(t *testing.T) {
	t.Parallel()
	w, q := newSQLite(t), newQueue()
	box := w.box(t, q)
	db := sqlx.NewDb(w.db, "sqlite")
	tx, err := db.BeginTxx(t.Context(), nil)
	must(t, err)
	exec := box.InTx(outbox.SQL(tx))
	if caps, _ := exec.Capabilities(); !caps.Transactional {
		t.Error("a transaction of sqlx is not Transactional")
	}
	must(t, exec(t.Context(), intent(t, "a")))
	must(t, tx.Commit())
	relay, err := outbox.NewRelay(box, outbox.SQL(db), q.exec(), nil)
	if err != nil || relay == nil {
		t.Fatal(err)
	}
	if got := w.stats(t, box); got != (outbox.Stats{Waiting: 1}) {
		t.Errorf("stats %+v", got)
	}
}

func TestGorm(t *testing.T) {
	t.Parallel()
	w, q := newSQLite(t), newQueue()
	box := w.box(t, q)
	db, err := gorm.Open(nil, &gorm.Config{ConnPool: w.db})
	must(t, err)
	must(t, db.WithContext(t.Context()).Transaction(func(tx *gorm.DB) error {
		exec := box.InTx(outbox.SQL(tx.Statement.ConnPool))
		if caps, _ := exec.Capabilities(); !caps.Transactional {
			t.Error("a transaction of gorm is not Transactional")
		}
		return exec(t.Context(), intent(t, "a"))
	}))
	if got := w.stats(t, box); got != (outbox.Stats{Waiting: 1}) {
		t.Errorf("stats %+v", got)
	}
}

// A client that ent generates has these methods with the feature sql/execquery. This is
// the transaction below it.
func TestEnt(t *testing.T) {
	t.Parallel()
	w, q := newSQLite(t), newQueue()
	box := w.box(t, q)
	driver := entsql.OpenDB("sqlite3", w.db)
	for _, commit := range []bool{false, true} {
		tx, err := driver.Tx(t.Context())
		must(t, err)
		exec := box.InTx(outbox.SQL(tx.(*entsql.Tx)))
		if caps, _ := exec.Capabilities(); !caps.Transactional {
			t.Error("a transaction of ent is not Transactional")
		}
		must(t, exec(t.Context(), intent(t, "a")))
		if commit {
			must(t, tx.Commit())
		} else {
			must(t, tx.Rollback())
		}
	}
	if got := w.stats(t, box); got != (outbox.Stats{Waiting: 1}) {
		t.Errorf("stats %+v", got)
	}
}
