package river_test

import (
	"database/sql"
	"testing"

	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivertest"

	"github.com/goairlock/airlock/core"
	riverexec "github.com/goairlock/airlock/executors/river"
)

// River's own test package finds our jobs by the user's typed arguments.
func TestRivertestSeesOurJobs(t *testing.T) {
	t.Parallel()
	w := setup(t, openSQLite(t), nil)
	w.send(w.intent(`{"n":7}`, core.Queue("mail"), core.Priority(9), core.MaxAttempts(3)))
	job := rivertest.RequireInserted(t.Context(), t, w.store.driver.(*riversqlite.Driver), nativeArgs{},
		&rivertest.RequireInsertedOpts{Queue: "mail", Priority: 1, MaxAttempts: 3})
	if job.Args.N != 7 {
		t.Errorf("args %+v", job.Args)
	}
}

func TestRivertestSeesOurJobsInsideTheirTransactionAlone(t *testing.T) {
	t.Parallel()
	w := setup(t, openSQLite(t), nil)
	w.send() // nothing
	tx, err := w.store.begin(t.Context())
	must(t, err)
	must(t, riverexec.InTx(w.exec, tx)(t.Context(), w.intent(`{"n":8}`)))
	job := rivertest.RequireInsertedTx[*riversqlite.Driver](t.Context(), t, tx, nativeArgs{}, nil)
	if job.Args.N != 8 {
		t.Errorf("args %+v", job.Args)
	}
	must(t, w.store.rollback(t.Context(), tx))
	rivertest.RequireNotInserted[*riversqlite.Driver, *sql.Tx](t.Context(), t, w.store.driver.(*riversqlite.Driver), nativeArgs{}, nil)
}
