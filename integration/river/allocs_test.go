package river_test

import (
	"testing"

	"github.com/riverqueue/river"

	"github.com/goairlock/airlock/core"
)

// One intent costs what River's own call with the same fields costs, a unique key
// among them, and little more. Not parallel: what others allocate counts too.
func TestOneIntentAllocatesLittleMoreThanTheLibrary(t *testing.T) {
	w := setup(t, openSQLite(t), nil)
	const runs = 100
	intents := make([]core.Intent, runs+1) // AllocsPerRun warms up once
	for i := range intents {
		intents[i] = w.intent(`{"n":1}`, core.Queue("mail"), core.MaxAttempts(3))
	}
	w.send(w.intent(`{"n":1}`)) // asks once whether the client is configured
	metadata := []byte(`{"airlock":{"v":1,"id":"01a211e4-95e6-7815-9824-ae2a2498bab3"}}`)
	n := 0
	library := testing.AllocsPerRun(runs, func() {
		n++
		_, err := w.client.Insert(t.Context(), nativeArgs{N: n}, &river.InsertOpts{Queue: "mail", MaxAttempts: 3, Metadata: metadata, UniqueOpts: river.UniqueOpts{ByArgs: true}})
		must(t, err)
	})
	next := 0
	own := testing.AllocsPerRun(runs, func() {
		must(t, w.exec.Execute(t.Context(), intents[next]))
		next++
	})
	t.Logf("%v allocations, the library %v", own, library)
	if own > library+5 {
		t.Errorf("%v allocations, want at most 5 more than the library's %v", own, library)
	}
}
