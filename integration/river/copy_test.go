package river_test

import (
	"errors"
	"fmt"
	"sync"

	"github.com/goairlock/airlock/core"
	riverexec "github.com/goairlock/airlock/executors/river"
	"github.com/riverqueue/river"
)

// copyTests are about batches of generated IDs, which PostgreSQL gets by COPY.
func copyTests[TTx any]() []envTest[TTx] {
	return []envTest[TTx]{
		{"a batch that is sent again is stored once", sentAgain[TTx]},
		{"a batch that is sent again leaves the caller's transaction intact", sentAgainInTx[TTx]},
		{"a batch that several send at once is stored once", sentAtOnce[TTx]},
		{"a batch waits for the transaction that has sent it", sentInAnotherTx[TTx]},
		{"a chosen ID in a batch is judged alone", chosenAmongGenerated[TTx]},
	}
}

// many is enough for a COPY in a savepoint.
const many = 150

func (w *testEnv[TTx]) batch(n int) []core.Intent {
	w.Helper()
	intents := make([]core.Intent, n)
	for i := range intents {
		intents[i] = w.intent(fmt.Sprint(i))
	}
	return intents
}

func all(n int, state core.State) []core.State {
	states := make([]core.State, n)
	for i := range states {
		states[i] = state
	}
	return states
}

func sentAgain[TTx any](w *testEnv[TTx]) {
	intents := w.batch(2 * many)
	w.wantStates(w.states(w.exec.Execute, intents[:many]...), all(many, core.Accepted)...)
	w.wantStates(w.states(w.exec.Execute, intents[:many]...), all(many, core.Accepted)...)
	w.wantRows(many)
	w.wantStates(w.states(w.exec.Execute, intents[many/2:]...), all(2*many-many/2, core.Accepted)...) // half of it
	w.wantStates(w.states(w.exec.Execute, intents[3], intents[3], intents[4]), all(3, core.Accepted)...)
	w.wantRows(2 * many)
	native := w.intent("1", riverexec.Native(func(o *river.InsertOpts) { o.Tags = []string{"blue"} }))
	w.wantStates(w.states(w.exec.Execute, native), core.Accepted)
	w.wantStates(w.states(w.exec.Execute, native, w.intent("2")), core.Accepted, core.Accepted)
	w.wantRows(2*many + 2)
}

func sentAgainInTx[TTx any](w *testEnv[TTx]) {
	w.table()
	intents := w.batch(2 * many)
	w.send(intents[:many]...)
	tx, err := w.store.begin(w.Context())
	must(w, err)
	exec := riverexec.InTx(w.exec, tx)
	must(w, w.store.exec(w.Context(), tx, "INSERT INTO orders VALUES (1)"))
	w.wantStates(w.states(exec, intents...), all(2*many, core.Accepted)...)
	w.wantStates(w.states(exec, w.batch(many)...), all(many, core.Accepted)...)
	must(w, w.store.exec(w.Context(), tx, "INSERT INTO orders VALUES (2)"))
	must(w, w.store.commit(w.Context(), tx))
	w.wantRows(3 * many)
	if n := w.orders(); n != 2 {
		w.Errorf("%d orders, want 2", n)
	}
	tx, err = w.store.begin(w.Context())
	must(w, err)
	w.wantStates(w.states(riverexec.InTx(w.exec, tx), w.batch(many)...), all(many, core.Accepted)...)
	must(w, w.store.rollback(w.Context(), tx))
	w.wantRows(3 * many)
}

func sentAtOnce[TTx any](w *testEnv[TTx]) {
	intents := w.batch(many)
	var senders sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		senders.Go(func() { errs[i] = w.exec.Execute(w.Context(), intents...) })
	}
	senders.Wait()
	must(w, errors.Join(errs...))
	w.wantRows(many)
}

func sentInAnotherTx[TTx any](w *testEnv[TTx]) {
	if !w.store.postgres {
		return // SQLite has one transaction at a time
	}
	for name, end := range map[string]func(TTx) error{
		"commit":   func(tx TTx) error { return w.store.commit(w.Context(), tx) },
		"rollback": func(tx TTx) error { return w.store.rollback(w.Context(), tx) },
	} {
		before := len(w.rows())
		intents := w.batch(many)
		tx, err := w.store.begin(w.Context())
		must(w, err)
		must(w, riverexec.InTx(w.exec, tx)(w.Context(), intents...))
		answer := make(chan error, 1)
		go func() { answer <- w.exec.Execute(w.Context(), intents...) }()
		w.until("the COPY waits: "+name, func() bool {
			n, err := w.store.number(w.Context(), "SELECT count(*) FROM pg_stat_activity WHERE query ILIKE 'copy %' AND wait_event_type = 'Lock' AND datname = current_database()")
			must(w, err)
			return n > 0
		})
		must(w, end(tx))
		must(w, <-answer)
		w.wantRows(before + many)
	}
}

func chosenAmongGenerated[TTx any](w *testEnv[TTx]) {
	intents := w.batch(many)
	intents[7] = w.intent("7", core.ID("chosen"))
	w.wantStates(w.states(w.exec.Execute, intents...), all(many, core.Accepted)...)
	want := all(many, core.Accepted)
	want[7] = core.Duplicate
	w.wantStates(w.states(w.exec.Execute, intents...), want...)
	tx, err := w.store.begin(w.Context())
	must(w, err)
	w.wantStates(w.states(riverexec.InTx(w.exec, tx), intents...), want...)
	must(w, w.store.commit(w.Context(), tx))
	w.wantRows(many)
}
