package river_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/goairlock/airlock/core"
	riverexec "github.com/goairlock/airlock/executors/river"
	"github.com/goairlock/airlock/worker"
)

func TestOnSQLite(t *testing.T) {
	everywhere(t, func(t testing.TB) store[*sql.Tx] { return openSQLite(t) })
}

// everywhere runs the tests that hold on every database.
func everywhere[TTx any](t *testing.T, open func(testing.TB) store[TTx]) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		run  func(*testEnv[TTx])
		opts *riverexec.Options
	}{
		{"a batch is one transaction with an outcome per intent", batchIsAtomic[TTx], nil},
		{"a key twice in one batch is one job and one duplicate", keyTwiceInBatch[TTx], nil},
		{"an ID is one job as long as its row is kept", idIsOneJob[TTx], nil},
		{"a unique key is free once its job has finished", uniqueUntilFinished[TTx], nil},
		{"an ID with a unique key is refused", idWithUnique[TTx], nil},
		{"a client without ConfigureClient is refused loudly", withoutConfigure[TTx], nil},
		{"a client without ConfigureClient is refused after native inserts of the kind", withoutConfigureAfterNative[TTx], nil},
		{"the hook runs for kinds that were inserted natively before", hookAfterNative[TTx], nil},
		{"priorities map onto four levels and unset ranks as 5", fourLevels[TTx], nil},
		{"every option reaches River's own columns", columns[TTx], nil},
		{"a delay of up to five seconds is stored as available", shortDelay[TTx], nil},
		{"one bad intent keeps the call back and only it is rejected", oneBadIntent[TTx], nil},
		{"native options set the rest and their unique keys hold in a batch", nativeOptions[TTx], nil},
		{"without identity the same intent is two jobs", noIdentity[TTx], &riverexec.Options{NoIdentity: true}},
		{"every kind of JSON comes back", everyJSON[TTx], nil},
		{"what jsonb refuses is found before sending", refusedJSON[TTx], nil},
		{"what is not JSON is wrapped on demand", wrapped[TTx], &riverexec.Options{Wrap: true}},
		{"a client with workers rejects the task it has none for", unknownKind[TTx], nil},
		{"a client without a pool dispatches in transactions only", noPool[TTx], nil},
		{"unset attempts are 25, also if the client's Config says otherwise", defaultAttempts[TTx], nil},
		{"queues have River's names and a chosen one", queueNames[TTx], &riverexec.Options{QueueNames: map[string]string{"mail": "mail-eu", "default": "main"}}},
		{"what a hook or middleware of the client's refuses is not sent", refusedByHook[TTx], nil},
		{"hooks and middleware see the jobs and nothing else", seenByHooks[TTx], nil},
		{"rows that a constraint refuses are rejected and the others not sent", refusedRows[TTx], nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.run(setup(t, open(t), tc.opts))
		})
	}
	for _, tc := range append(workerTests[TTx](), runTests[TTx]()...) {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.run(setup(t, open(t), nil))
		})
	}
	for _, tc := range append(transactionTests[TTx](), copyTests[TTx]()...) {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.run(setup(t, open(t), nil))
		})
	}
}

func batchIsAtomic[TTx any](w *testEnv[TTx]) {
	intents := make([]core.Intent, 500)
	for i := range intents {
		intents[i] = w.intent(fmt.Sprint(i))
	}
	w.send(intents...)
	rows := w.wantRows(len(intents))
	for i, r := range rows {
		if string(r.EncodedArgs) != fmt.Sprint(i) {
			w.Fatalf("job %d in the order of its row has payload %s", i, r.EncodedArgs)
		}
	}
	w.send() // no intents
	again := append(intents[:2:2], w.intent("1"))
	w.wantStates(w.states(w.exec.Execute, again...), core.Accepted, core.Accepted, core.Accepted)
	w.wantRows(len(intents) + 1)
}

func keyTwiceInBatch[TTx any](w *testEnv[TTx]) {
	id, key := w.intent("1", core.ID("order-1")), w.intent("2", core.Unique("k"))
	generated := w.intent("3")
	w.wantStates(w.states(w.exec.Execute,
		id, w.intent("9", core.ID("order-1")), key, w.intent("9", core.Unique("k")), generated, generated, w.intent("4")),
		core.Accepted, core.Duplicate, core.Accepted, core.Duplicate, core.Accepted, core.Accepted, core.Accepted)
	w.wantRows(4)
	// And all of it again, with a new one.
	w.wantStates(w.states(w.exec.Execute, id, key, generated, w.intent("5")),
		core.Duplicate, core.Duplicate, core.Accepted, core.Accepted)
	w.wantRows(5)
	err := w.exec.Execute(w.Context(), id, w.intent("6"))
	wantIs(w, err, core.ErrDuplicate)
}

func idIsOneJob[TTx any](w *testEnv[TTx]) {
	chosen, generated := w.intent("1", core.ID("a")), w.intent("2")
	w.handle(w.noting(func(context.Context, worker.Job) error { return worker.Permanent(errors.New("no")) }))
	w.send(chosen, generated)
	w.await(2)
	for _, r := range w.rows() {
		for end := time.Now().Add(patience); ; {
			got, err := w.client.JobGet(w.Context(), r.ID)
			must(w, err)
			if got.State == rivertype.JobStateCancelled {
				break
			}
			if time.Now().After(end) {
				w.Fatal(w.describe())
			}
			time.Sleep(time.Millisecond)
		}
	}
	w.wantStates(w.states(w.exec.Execute, chosen, generated), core.Duplicate, core.Accepted)
	w.wantRows(2)
}

func uniqueUntilFinished[TTx any](w *testEnv[TTx]) {
	w.send(w.intent("1", core.Unique("k")))
	w.wantStates(w.states(w.exec.Execute, w.intent("2", core.Unique("k"))), core.Duplicate)
	w.wantStates(w.states(w.exec.Execute, w.intent("2", core.Unique("k"), core.Queue("default"))), core.Duplicate)
	w.wantStates(w.states(w.exec.Execute, w.intent("2", core.Unique("k"), core.Queue("other"))), core.Accepted)
	w.wantStates(w.states(w.exec.Execute, w.intent("2", core.Unique("k"), core.Delay(time.Hour))), core.Duplicate)
	w.handle(w.note)
	w.await(1)
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		got := w.states(w.exec.Execute, w.intent("3", core.Unique("k")))[0]
		if got == core.Accepted {
			return
		}
		if got != core.Duplicate || time.Now().After(end) {
			w.Fatalf("outcome %v, want the key to become free", got)
		}
	}
}

func idWithUnique[TTx any](w *testEnv[TTx]) {
	err := w.exec.Execute(w.Context(), w.intent("1", core.ID("a"), core.Unique("k")))
	wantIs(w, err, core.ErrUnsupported)
	w.wantRows(0)
}

func fourLevels[TTx any](w *testEnv[TTx]) {
	want := []int{2, 4, 4, 3, 3, 2, 2, 2, 1, 1, 1}
	intents := []core.Intent{w.intent("0")}
	for p := 1; p <= 10; p++ {
		intents = append(intents, w.intent("0", core.Priority(p)))
	}
	w.send(intents...)
	for i, r := range w.wantRows(len(want)) {
		if r.Priority != want[i] {
			w.Errorf("priority %d is River's %d, want %d", i, r.Priority, want[i])
		}
	}
}

func columns[TTx any](w *testEnv[TTx]) {
	at := time.Now().Add(time.Hour).Truncate(time.Millisecond).Add(time.Microsecond)
	w.send(w.intent(`{"a":1}`, core.Queue("mail"), core.MaxAttempts(32767), core.At(at), core.Header("Trace", "t-1"),
		core.Backoff(core.Fixed(time.Second)), core.Timeout(time.Minute), core.ID("id-1")))
	r := w.wantRows(1)[0]
	if r.Queue != "mail" || r.MaxAttempts != 32767 || r.Kind != raw.Name() || r.State != rivertype.JobStateScheduled {
		w.Errorf("queue %s, max attempts %d, kind %s, state %s", r.Queue, r.MaxAttempts, r.Kind, r.State)
	}
	if want := at.Add(999 * time.Microsecond); !r.ScheduledAt.Equal(want) {
		w.Errorf("scheduled at %v, want %v: never early", r.ScheduledAt, want)
	}
	wantIs(w, w.exec.Execute(w.Context(), w.intent("1", core.MaxAttempts(32768))), core.ErrUnsupported)
	must(w, w.exec.Execute(w.Context(), w.intent("1", core.At(time.Unix(1, 0)))))
	if r := w.wantRows(2)[1]; r.State != rivertype.JobStateAvailable || time.Since(r.ScheduledAt) > time.Hour {
		w.Errorf("a time that is past: %s, scheduled at %v, want available now", r.State, r.ScheduledAt)
	}
}

func shortDelay[TTx any](w *testEnv[TTx]) {
	short := w.intent("1", core.Delay(300*time.Millisecond))
	w.send(short, w.intent("2", core.Delay(6*time.Second)))
	rows := w.wantRows(2)
	if rows[0].State != rivertype.JobStateAvailable || rows[0].ScheduledAt.Before(short.Options.At) {
		w.Errorf("a short delay: %s at %v, want available at %v", rows[0].State, rows[0].ScheduledAt, short.Options.At)
	}
	if rows[1].State != rivertype.JobStateScheduled {
		w.Errorf("a long delay: %s, want scheduled", rows[1].State)
	}
	w.handle(w.note)
	if early := short.Options.At.Sub(w.await(1)[0].began); early > 0 {
		w.Errorf("the job ran %v early", early)
	}
}

func nativeOptions[TTx any](w *testEnv[TTx]) {
	tagged := riverexec.Native(func(o *river.InsertOpts) {
		o.Tags, o.Metadata = []string{"blue"}, []byte(` { "color" : "blue" } `)
	})
	parked := riverexec.Native(func(o *river.InsertOpts) { o.Pending = true })
	w.send(w.intent("1", tagged), w.intent("2", parked, core.Delay(time.Second)))
	rows := w.wantRows(2)
	if len(rows[0].Tags) != 1 || !jsonHas(rows[0].Metadata, "color") || !jsonHas(rows[0].Metadata, "airlock") {
		w.Errorf("tags %v, metadata %s", rows[0].Tags, rows[0].Metadata)
	}
	if rows[1].State != rivertype.JobStatePending {
		w.Errorf("state %s, want pending", rows[1].State)
	}
	byArgs := riverexec.Native(func(o *river.InsertOpts) { o.UniqueOpts.ByArgs = true })
	w.wantStates(w.states(w.exec.Execute, w.intent(`{"n":1}`, byArgs), w.intent(`{"n":2}`, byArgs), w.intent(`{"n":1}`, byArgs), w.intent("3")),
		core.Accepted, core.Accepted, core.Duplicate, core.Accepted)
	w.wantStates(w.states(w.exec.Execute, w.intent(`{"n":2}`, byArgs)), core.Duplicate)
	w.wantRows(5)
	wantIs(w, w.exec.Execute(w.Context(), w.intent(`{}`, byArgs, core.Unique("k"))), core.ErrUnsupported)
	wantIs(w, w.exec.Execute(w.Context(), w.intent(`{}`, byArgs, core.ID("k"))), core.ErrUnsupported)
}

func noIdentity[TTx any](w *testEnv[TTx]) {
	in := w.intent("1")
	w.send(in, in, w.intent("2", core.Delay(time.Second)))
	rows := w.wantRows(3)
	if rows[0].UniqueKey != nil || rows[2].State != rivertype.JobStateAvailable || !jsonHas(rows[0].Metadata, "airlock") {
		w.Errorf("unique key %x, delayed %s", rows[0].UniqueKey, rows[2].State)
	}
	chosen := w.intent("3", core.ID("a"))
	w.wantStates(w.states(w.exec.Execute, in, chosen, w.intent("4", core.ID("a"))), core.Accepted, core.Accepted, core.Duplicate)
	w.wantStates(w.states(w.exec.Execute, chosen), core.Duplicate)
	w.wantRows(5)
	if got := w.exec.Capabilities().IDWindow.Kind; got != "" {
		w.Errorf("ID window %q, want none", got)
	}
}

func unknownKind[TTx any](w *testEnv[TTx]) {
	config := w.config(w.registry(worker.Handle(raw, w.note)))
	must(w, riverexec.ConfigureClient(config))
	client, err := river.NewClient(w.store.driver, config)
	must(w, err)
	exec, err := riverexec.New(client, nil)
	must(w, err)
	stranger, err := core.DeclareTask[int]("test.stranger").Intent(1)
	must(w, err)
	w.wantStates(w.states(exec.Execute, w.intent("1"), stranger), core.NotSent, core.Rejected)
	w.wantStates(w.states(exec.Execute, stranger, w.intent("1")), core.Rejected, core.NotSent)
	var unknown *river.UnknownJobKindError
	if err := exec.Execute(w.Context(), stranger); !errors.As(err, &unknown) {
		w.Errorf("%v", err)
	}
	w.wantRows(0)
}

func noPool[TTx any](w *testEnv[TTx]) {
	config := &river.Config{Logger: quiet}
	must(w, riverexec.ConfigureClient(config))
	client, err := river.NewClient(w.store.poolless, config)
	must(w, err)
	exec, err := riverexec.New(client, nil)
	must(w, err)
	wantIs(w, exec.Execute(w.Context(), w.intent("1")), core.ErrInvalid)
	tx, err := w.store.begin(w.Context())
	must(w, err)
	must(w, riverexec.InTx(exec, tx)(w.Context(), w.intent("1"), w.intent("2")))
	must(w, w.store.commit(w.Context(), tx))
	w.wantRows(2)
}

func defaultAttempts[TTx any](w *testEnv[TTx]) {
	config := &river.Config{Logger: quiet, MaxAttempts: 3}
	must(w, riverexec.ConfigureClient(config))
	client, err := river.NewClient(w.store.driver, config)
	must(w, err)
	exec, err := riverexec.New(client, nil)
	must(w, err)
	must(w, exec.Execute(w.Context(), w.intent("1"), w.intent("2", core.MaxAttempts(1))))
	rows := w.wantRows(2)
	if rows[0].MaxAttempts != core.DefaultMaxAttempts || rows[1].MaxAttempts != 1 || exec.Capabilities().DefaultAttempts != core.DefaultMaxAttempts {
		w.Errorf("max attempts %d and %d", rows[0].MaxAttempts, rows[1].MaxAttempts)
	}
}

func queueNames[TTx any](w *testEnv[TTx]) {
	w.send(w.intent("1"), w.intent("2", core.Queue("mail")), w.intent("3", core.Queue("other")))
	for i, want := range []string{"main", "mail-eu", "other"} {
		if got := w.wantRows(3)[i].Queue; got != want {
			w.Errorf("queue %s, want %s", got, want)
		}
	}
	w.wantStates(w.states(w.exec.Execute, w.intent("4", core.Queue("main"))), core.Rejected)
	w.run(w.registry(worker.Handle(raw, w.note)), &riverexec.WorkerOptions{
		Queues: []string{"default", "mail", "other"}, QueueNames: map[string]string{"mail": "mail-eu", "default": "main"},
	})
	for _, r := range w.await(3) {
		if want := map[string]string{"1": "default", "2": "mail", "3": "other"}[r.payload]; r.job.Queue != want {
			w.Errorf("job %s is from %s, want %s", r.payload, r.job.Queue, want)
		}
	}
}

// withHooks makes an executor whose client has this hook and middleware as well.
// refuseOdd makes the database refuse payloads with "odd":true.
