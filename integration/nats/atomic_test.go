package nats_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/core"
)

func TestAnAtomicBatchIsStoredWholly(t *testing.T) {
	t.Parallel()
	w := setup(t, &options{Atomic: true})
	var intents []core.Intent
	for range 1000 {
		intents = append(intents, w.intent("a"))
	}
	w.send(intents...)
	w.wantStored("JOBS.>", 1000)
	more := append(intents[:1000:1000], w.intent("b"))
	err := w.exec.Execute(w.ctx, more...)
	if !errors.Is(err, core.ErrTooLarge) {
		t.Errorf("1001 intents: %v", err)
	}
	w.wantStored("JOBS.>", 1000)
}

func TestAnAtomicBatchWithAKnownJobStoresNothing(t *testing.T) {
	t.Parallel()
	w := setup(t, &options{Atomic: true})
	atomicBatches(w)
}

// atomicBatches sends batches of which something is known already.
func atomicBatches(w *testEnv) {
	generated, chosen, delayed := w.intent("a"), w.intent("b", core.ID(w.intent("b").ID)), w.intent("d", core.Delay(time.Hour))
	batch := []core.Intent{generated, chosen, delayed}
	w.send(batch...)
	w.wantStored("JOBS.>", 3)

	// Sent again, as after a lost answer.
	w.wantStates(w.states(batch...), core.Accepted, core.Duplicate, core.Accepted)

	// With a new one: the outcomes say which are known, and the rest can be sent alone.
	fresh := w.intent("e")
	w.wantStates(w.states(fresh, chosen), core.NotSent, core.Duplicate)
	w.wantStates(w.states(fresh, generated), core.NotSent, core.Accepted)
	w.wantStored("JOBS.>", 3)
	w.wantStates(w.states(fresh, w.intent("g")), core.Accepted, core.Accepted)
	w.wantStored("JOBS.>", 5)
}

func TestAnAtomicBatchWithATakenKeyStoresNothing(t *testing.T) {
	t.Parallel()
	atomicBatchesWithAKey(setup(t, &options{Atomic: true}))
}

// atomicBatchesWithAKey sends batches with a key that a job has.
func atomicBatchesWithAKey(w *testEnv) {
	keyed, fresh := w.intent("c", core.Unique("c")), w.intent("e")
	w.send(keyed)
	w.wantStates(w.states(fresh, w.intent("f", core.Unique("c"))), core.NotSent, core.Duplicate)
	w.wantStates(w.states(w.intent("f", core.Unique("c")), fresh), core.Duplicate, core.NotSent)
	w.wantStates(w.states(keyed, w.intent("g")), core.Duplicate, core.NotSent)
	w.wantStored("JOBS.>", 1)
}

func TestAnAtomicBatchKeepsKeysApartWithinItself(t *testing.T) {
	t.Parallel()
	w := setup(t, &options{Atomic: true})
	first, twin := w.intent("a", core.Unique("k")), w.intent("b", core.Unique("k"))
	same := w.intent("c")
	w.wantStates(w.states(first, twin, same, same), core.Accepted, core.Duplicate, core.Accepted, core.Accepted)
	w.wantStored("JOBS.>", 2)
}

// The server has 50 batches open at a time for a stream, and refuses more.
func TestMoreAtomicBatchesThanTheServerTakes(t *testing.T) {
	t.Parallel()
	w := setup(t, &options{Atomic: true})
	publish := func(batch, sequence int, commit string) {
		m := plain("JOBS.job.other.test.work", `"of another program"`)
		m.Header.Set("Nats-Batch-Id", fmt.Sprint(batch))
		m.Header.Set("Nats-Batch-Sequence", fmt.Sprint(sequence))
		if commit != "" {
			m.Header.Set("Nats-Batch-Commit", commit)
		}
		reply, err := w.conn.RequestMsgWithContext(w.ctx, m)
		w.must(err)
		if strings.Contains(string(reply.Data), "error") {
			t.Fatalf("batch %d: %s", batch, reply.Data)
		}
	}
	for batch := range 50 {
		publish(batch, 1, "")
	}
	intents := w.some(3)
	err := w.exec.Execute(w.ctx, intents...)
	var api *jetstream.APIError
	if !errors.Is(err, core.ErrUnavailable) || !errors.Is(err, core.ErrNotSent) || !errors.As(err, &api) || api.ErrorCode != 10210 {
		t.Errorf("error %v", err)
	}
	w.wantStored("JOBS.>", 0)
	publish(7, 2, "1")
	w.must(w.retrying()(w.ctx, intents...))
	w.wantStored("JOBS.job.default.>", 3)
	w.wantStored("JOBS.>", 5)
}
