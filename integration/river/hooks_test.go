package river_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/goairlock/airlock/core"
	riverexec "github.com/goairlock/airlock/executors/river"
)

func (w *testEnv[TTx]) withHooks(hook rivertype.Hook, middleware ...rivertype.Middleware) *riverexec.Executor[TTx] {
	w.Helper()
	config := &river.Config{Logger: quiet, Hooks: []rivertype.Hook{hook}, Middleware: middleware}
	must(w, riverexec.ConfigureClient(config))
	client, err := river.NewClient(w.store.driver, config)
	must(w, err)
	exec, err := riverexec.New(client, nil)
	must(w, err)
	return exec
}

func refusedByHook[TTx any](w *testEnv[TTx]) {
	errHook := errors.New("the hook refuses")
	for _, refusal := range []error{errHook, fmt.Errorf("%w: %w", errHook, core.ErrInvalid)} {
		exec := w.withHooks(river.HookInsertBeginFunc(func(context.Context, *rivertype.JobInsertParams) error { return refusal }))
		for _, intents := range [][]core.Intent{{w.intent("1")}, {w.intent("1"), w.intent("2", core.ID("a"))}} {
			want := core.NotSent
			if errors.Is(refusal, core.ErrInvalid) {
				want = core.Rejected
			}
			err := exec.Execute(w.Context(), intents...)
			wantIs(w, err, errHook)
			for _, o := range core.OutcomesOf(err, intents) {
				if o.State != want {
					w.Errorf("%v: %v, want %v", refusal, o.State, want)
				}
			}
		}
	}
	exec := w.withHooks(river.HookInsertBeginFunc(func(context.Context, *rivertype.JobInsertParams) error { return nil }),
		river.JobInsertMiddlewareFunc(func(context.Context, []*rivertype.JobInsertParams, func(context.Context) ([]*rivertype.JobInsertResult, error)) ([]*rivertype.JobInsertResult, error) {
			return nil, errHook
		}))
	w.wantStates(w.states(exec.Execute, w.intent("1")), core.NotSent)
	w.wantRows(0)
}

func seenByHooks[TTx any](w *testEnv[TTx]) {
	var seen []string
	exec := w.withHooks(river.HookInsertBeginFunc(func(_ context.Context, p *rivertype.JobInsertParams) error {
		seen = append(seen, string(p.EncodedArgs))
		return nil
	}))
	must(w, exec.Execute(w.Context()))
	if _, ok := core.Executor(exec.Execute).Capabilities(); !ok {
		w.Error("the executor does not say what it can do")
	}
	must(w, core.Executor(exec.Execute).Check(w.Context(), w.intent("[0]")))
	must(w, exec.Execute(w.Context(), w.intent("[1]")))
	tx, err := w.store.begin(w.Context())
	must(w, err)
	must(w, riverexec.InTx(exec, tx)(w.Context(), w.intent("[2]"), w.intent("[3]")))
	must(w, w.store.commit(w.Context(), tx))
	if got := fmt.Sprint(seen); got != "[[1] [2] [3]]" {
		w.Errorf("the hook has seen %s", got)
	}
}

func (w *testEnv[TTx]) unconfigured() *riverexec.Executor[TTx] {
	w.Helper()
	client, err := river.NewClient(w.store.driver, &river.Config{Logger: quiet})
	must(w, err)
	w.client = client
	exec, err := riverexec.New(client, nil)
	must(w, err)
	return exec
}

func (w *testEnv[TTx]) wantUnconfigured(exec *riverexec.Executor[TTx]) {
	w.Helper()
	for range 2 {
		in := w.intent("1")
		err := exec.Execute(w.Context(), in)
		wantIs(w, err, core.ErrInvalid)
		if got := core.OutcomesOf(err, []core.Intent{in})[0].State; got != core.Rejected {
			w.Errorf("outcome %v, want rejected: %v", got, err)
		}
	}
}

func withoutConfigure[TTx any](w *testEnv[TTx]) {
	exec := w.unconfigured()
	w.wantUnconfigured(exec)
	tx, err := w.store.begin(w.Context())
	must(w, err)
	wantIs(w, riverexec.InTx(exec, tx)(w.Context(), w.intent("1")), core.ErrInvalid)
	must(w, w.store.rollback(w.Context(), tx))
	w.wantRows(0)
}

func withoutConfigureAfterNative[TTx any](w *testEnv[TTx]) {
	exec := w.unconfigured()
	_, err := w.client.Insert(w.Context(), nativeArgs{N: 1}, nil)
	must(w, err)
	w.wantUnconfigured(exec)
	w.wantRows(1)
}

func hookAfterNative[TTx any](w *testEnv[TTx]) {
	_, err := w.client.Insert(w.Context(), nativeArgs{N: 1}, nil)
	must(w, err)
	in := w.intent(`{"n":2}`)
	w.wantStates(w.states(w.exec.Execute, in), core.Accepted)
	w.wantStates(w.states(w.exec.Execute, in), core.Accepted)
	rows := w.wantRows(2)
	if rows[1].UniqueKey == nil || len(rows[1].UniqueStates) != len(rivertype.JobStates()) {
		w.Errorf("unique key %x in %v, want one in all states", rows[1].UniqueKey, rows[1].UniqueStates)
	}
}
