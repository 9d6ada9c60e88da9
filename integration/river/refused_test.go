package river_test

import (
	"errors"

	"github.com/riverqueue/river"

	"github.com/goairlock/airlock/core"
	riverexec "github.com/goairlock/airlock/executors/river"
)

func oneBadIntent[TTx any](w *testEnv[TTx]) {
	for name, bad := range map[string]core.Intent{
		"a native priority":       w.intent("1", riverexec.Native(func(o *river.InsertOpts) { o.Priority = 9 })),
		"a short tag":             w.intent("1", riverexec.Native(func(o *river.InsertOpts) { o.Tags = []string{"ab"} })),
		"metadata of no object":   w.intent("1", riverexec.Native(func(o *river.InsertOpts) { o.Metadata = []byte("[1]") })),
		"reserved metadata":       w.intent("1", riverexec.Native(func(o *river.InsertOpts) { o.Metadata = []byte(`{"airlock":1}`) })),
		"negative attempts":       w.intent("1", riverexec.Native(func(o *river.InsertOpts) { o.MaxAttempts = -3 })),
		"a queue of capitals":     w.intent("1", riverexec.Native(func(o *river.InsertOpts) { o.Queue = "Mail" })),
		"a period of nanoseconds": w.intent("1", riverexec.Native(func(o *river.InsertOpts) { o.UniqueOpts.ByPeriod = 1 })),
		"a function that panics":  w.intent("1", riverexec.Native(func(*river.InsertOpts) { panic("native") })),
		"what is not JSON":        w.intent("{"),
	} {
		err := w.exec.Execute(w.Context(), w.intent("1"), bad, w.intent("2"))
		wantIs(w, err, core.ErrInvalid)
		var de *core.DispatchError
		if !errors.As(err, &de) {
			w.Fatalf("%s: %v", name, err)
		}
		outs := de.Outcomes
		if outs[0].State != core.NotSent || outs[1].State != core.Rejected || outs[2].State != core.NotSent || !errors.Is(outs[1].Err, core.ErrInvalid) {
			w.Errorf("%s: %v", name, outs)
		}
	}
	w.wantRows(0)
}

func (w *testEnv[TTx]) refuseOdd() {
	w.Helper()
	statement := `ALTER TABLE river_job ADD CONSTRAINT even CHECK (NOT args @> '{"odd":true}')`
	if !w.store.postgres {
		statement = `CREATE TRIGGER even BEFORE INSERT ON river_job WHEN json_extract(NEW.args, '$.odd') BEGIN SELECT raise(ABORT, 'CHECK constraint failed: even'); END`
	}
	tx, err := w.store.begin(w.Context())
	must(w, err)
	must(w, w.store.exec(w.Context(), tx, statement))
	must(w, w.store.commit(w.Context(), tx))
}

func refusedRows[TTx any](w *testEnv[TTx]) {
	w.refuseOdd()
	odd := func(opts ...core.Option) core.Intent { return w.intent(`{"odd":true}`, opts...) }
	w.wantStates(w.states(w.exec.Execute, odd()), core.Rejected)
	intents := make([]core.Intent, 300)
	want := make([]core.State, len(intents))
	for i := range intents {
		switch i {
		case 0, 137, 138, 299:
			intents[i], want[i] = odd(), core.Rejected
		case 200:
			intents[i], want[i] = odd(core.ID("chosen")), core.Rejected
		default:
			intents[i], want[i] = w.intent(`{"odd":false}`), core.NotSent
		}
	}
	err := w.exec.Execute(w.Context(), intents...)
	wantIs(w, err, core.ErrInvalid)
	w.wantStates(w.states(w.exec.Execute, intents...), want...)
	w.wantRows(0)
	w.wantStates(w.states(w.exec.Execute, intents[1:3]...), core.Accepted, core.Accepted)
	// In the caller's transaction it cannot be found out.
	tx, err := w.store.begin(w.Context())
	must(w, err)
	w.wantStates(w.states(riverexec.InTx(w.exec, tx), intents[3], odd()), core.NotSent, core.NotSent)
	must(w, w.store.rollback(w.Context(), tx))
	tx, err = w.store.begin(w.Context())
	must(w, err)
	w.wantStates(w.states(riverexec.InTx(w.exec, tx), odd()), core.Rejected)
	must(w, w.store.rollback(w.Context(), tx))
	w.wantRows(2)
}
