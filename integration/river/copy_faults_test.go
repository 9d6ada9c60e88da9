//go:build realservers

package river_test

import (
	"context"
	"errors"
	"testing"

	"github.com/goairlock/airlock/core"
	riverexec "github.com/goairlock/airlock/executors/river"
)

func TestABatchByCopyIsUnknownAfterALostReplyAndThenStoredOnce(t *testing.T) {
	f := throughProxy(t)
	release := f.holdCommit()
	intents := f.batch(many)
	answer := start(f.Context(), f.exec.Execute, intents...)
	f.until("a COMMIT that waits", sleepsInCommit)
	f.proxy.LoseReplies()
	release()
	f.until("the COMMIT's effect", "SELECT count(*) FROM river_job WHERE args = '3'")
	f.proxy.Reset()
	err := answer()
	f.wantAll(err, core.Unknown, intents...)
	must(f, f.proxy.Heal())
	f.wantStates(f.states(f.exec.Execute, intents...), all(many, core.Accepted)...)
	if n := f.count("SELECT count(*) FROM river_job"); n != many+2 {
		f.Errorf("%d jobs are stored, want %d", n, many+2)
	}
}

// A batch in the caller's transaction is cut at every stage: nothing is stored, and the
// answers say so.
func TestABatchByCopyInATransactionThatIsCutIsNotSent(t *testing.T) {
	f := throughProxy(t)
	inTx := func(intents []core.Intent) error {
		tx, err := f.store.begin(f.Context())
		if err != nil {
			return err
		}
		defer f.store.rollback(context.WithoutCancel(f.Context()), tx) //nolint:errcheck // the connection may be gone
		return riverexec.InTx(f.exec, tx)(f.Context(), intents...)
	}
	before := f.proxy.Stats().RequestBytes
	must(f, inTx(f.batch(many)))
	size := f.proxy.Stats().RequestBytes - before
	bit := 0
	for cut := range 10 {
		intents := f.batch(many)
		f.send(f.intent("0")) // a connection that works
		stored := f.count("SELECT count(*) FROM river_job")
		f.proxy.CutAfter(1 + size*int64(cut)/10)
		err := inTx(intents)
		must(f, f.proxy.Heal())
		if err == nil {
			continue
		}
		bit++
		if de := new(core.DispatchError); errors.As(err, &de) { // else BEGIN failed
			f.wantAll(err, core.NotSent, intents...)
		}
		f.until("the transaction has ended", "SELECT 1 - least(count(*), 1) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' AND datname = current_database()")
		if n := f.count("SELECT count(*) FROM river_job"); n != stored {
			f.Errorf("cut %d: %d jobs are stored", cut, n-stored)
		}
	}
	if bit == 0 {
		f.Error("no cut broke a call")
	}
}
