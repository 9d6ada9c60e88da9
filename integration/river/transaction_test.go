package river_test

import (
	"context"
	"errors"

	"github.com/riverqueue/river/rivertype"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/core"
	riverexec "github.com/goairlock/airlock/executors/river"
)

func transactionTests[TTx any]() []envTest[TTx] {
	return []envTest[TTx]{
		{"jobs commit with the data of their transaction", commits[TTx]},
		{"jobs roll back with the data of their transaction", rollsBack[TTx]},
		{"a transaction inside a request's scope flushes itself", insideARequest[TTx]},
		{"a policy around a transaction still judges", judgedByRequest[TTx]},
		{"duplicates are reported inside a transaction", duplicatesInTx[TTx]},
		{"bad input to InTx is an error", badInTx[TTx]},
		{"an error of the database leaves a transaction to be rolled back", failedInTx[TTx]},
	}
}

// inTx runs fn with a scope in a transaction, and commits if it succeeds.
func (w *testEnv[TTx]) inTx(ctx context.Context, fn func(ctx context.Context, tx TTx) error) error {
	w.Helper()
	tx, err := w.store.begin(ctx)
	must(w, err)
	err = airlock.Run(ctx, riverexec.InTx(w.exec, tx), func(ctx context.Context) error { return fn(ctx, tx) })
	if err != nil {
		must(w, w.store.rollback(context.WithoutCancel(ctx), tx))
		return err
	}
	must(w, w.store.commit(ctx, tx))
	return nil
}

func (w *testEnv[TTx]) table() {
	w.Helper()
	tx, err := w.store.begin(w.Context())
	must(w, err)
	must(w, w.store.exec(w.Context(), tx, "CREATE TABLE orders (id integer PRIMARY KEY)"))
	must(w, w.store.commit(w.Context(), tx))
}

func (w *testEnv[TTx]) orders() int {
	w.Helper()
	n, err := w.store.number(w.Context(), "SELECT count(*) FROM orders")
	must(w, err)
	return n
}

func (w *testEnv[TTx]) order(ctx context.Context, tx TTx) error {
	if err := w.store.exec(ctx, tx, "INSERT INTO orders VALUES (1)"); err != nil {
		return err
	}
	return airlock.Enqueue(ctx, raw, []byte(`{"order":1}`), core.ID("order-1"))
}

var errDeclined = errors.New("declined")

func commits[TTx any](w *testEnv[TTx]) {
	w.table()
	w.handle(w.note)
	must(w, w.inTx(w.Context(), w.order))
	if w.orders() != 1 {
		w.Error("the order is not there")
	}
	w.await(1)
	w.awaitState(rivertype.JobStateCompleted)
}

func rollsBack[TTx any](w *testEnv[TTx]) {
	w.table()
	err := w.inTx(w.Context(), func(ctx context.Context, tx TTx) error {
		must(w, w.order(ctx, tx))
		return errDeclined
	})
	wantIs(w, err, errDeclined)
	// After the flush, too: the jobs are in the transaction and go with it.
	tx, err := w.store.begin(w.Context())
	must(w, err)
	must(w, airlock.Run(w.Context(), riverexec.InTx(w.exec, tx), func(ctx context.Context) error { return w.order(ctx, tx) }))
	must(w, w.store.rollback(w.Context(), tx))
	if w.orders() != 0 {
		w.Error("the order is there")
	}
	w.wantRows(0)
	w.wantStates(w.states(w.exec.Execute, w.intent("1", core.ID("order-1"))), core.Accepted)
}

func insideARequest[TTx any](w *testEnv[TTx]) {
	w.table()
	err := airlock.Run(w.Context(), w.exec.Execute, func(ctx context.Context) error {
		must(w, airlock.Enqueue(ctx, raw, []byte(`"of the request"`)))
		must(w, w.inTx(ctx, w.order))
		w.wantRows(1) // the transaction's, and the request has not ended
		return errDeclined
	})
	wantIs(w, err, errDeclined)
	if rows := w.wantRows(1); !sameJSON(string(rows[0].EncodedArgs), `{"order":1}`) {
		w.Errorf("stored: %s", rows[0].EncodedArgs)
	}
	if w.orders() != 1 {
		w.Error("the order is not there")
	}
}

func judgedByRequest[TTx any](w *testEnv[TTx]) {
	w.table()
	err := airlock.Run(w.Context(), w.exec.Execute, func(ctx context.Context) error {
		return w.inTx(ctx, w.order)
	}, airlock.BlockTasks(raw.Name()))
	must(w, err)
	w.wantRows(0) // the request's policy let nothing leave
	if w.orders() != 1 {
		w.Error("the order is not there")
	}
}

func duplicatesInTx[TTx any](w *testEnv[TTx]) {
	w.send(w.intent("1", core.ID("a")))
	tx, err := w.store.begin(w.Context())
	must(w, err)
	exec := riverexec.InTx(w.exec, tx)
	w.wantStates(w.states(exec, w.intent("1", core.ID("a")), w.intent("2", core.ID("b")), w.intent("3", core.ID("b"))),
		core.Duplicate, core.Accepted, core.Duplicate)
	w.wantStates(w.states(exec, w.intent("4", core.ID("b")), w.intent("5")), core.Duplicate, core.Accepted)
	must(w, w.store.commit(w.Context(), tx))
	w.wantRows(3)
}

func badInTx[TTx any](w *testEnv[TTx]) {
	var none TTx
	wantIs(w, riverexec.InTx(w.exec, none)(w.Context(), w.intent("1")), core.ErrInvalid)
	wantIs(w, riverexec.InTx[TTx](nil, none)(w.Context(), w.intent("1")), core.ErrInvalid)
	tx, err := w.store.begin(w.Context())
	must(w, err)
	must(w, riverexec.InTx(w.exec, tx)(w.Context()))
	wantIs(w, riverexec.InTx(w.exec, tx)(w.Context(), core.Intent{}), core.ErrInvalid)
	must(w, w.store.commit(w.Context(), tx))
}

func failedInTx[TTx any](w *testEnv[TTx]) {
	w.table()
	w.send(w.intent("0")) // the client is known to be configured
	tx, err := w.store.begin(w.Context())
	must(w, err)
	must(w, w.store.exec(w.Context(), tx, "INSERT INTO orders VALUES (1)"))
	must(w, w.store.exec(w.Context(), tx, "ALTER TABLE river_job RENAME TO away"))
	w.wantStates(w.states(riverexec.InTx(w.exec, tx), w.intent("1"), w.intent("2")), core.NotSent, core.NotSent)
	must(w, w.store.rollback(w.Context(), tx))
	if w.orders() != 0 {
		w.Error("the order is there")
	}
	w.wantRows(1)
}
