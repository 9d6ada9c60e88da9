//go:build !race

package river_test

import (
	"math"
	"testing"

	"github.com/riverqueue/river"

	"github.com/goairlock/airlock/core"
)

// One intent costs what River's own call with the same fields costs, a unique key
// among them, and little more. Not parallel: what others allocate counts too. And
// not under the race detector, which makes a sync.Pool forget.
func TestOneIntentAllocatesLittleMoreThanTheLibrary(t *testing.T) {
	w := setup(t, openSQLite(t), nil)
	const rounds, runs = 3, 100
	w.send(w.intent(`{"n":1}`)) // asks once whether the client is configured
	metadata := []byte(`{"airlock":{"v":1,"id":"01a211e4-95e6-7815-9824-ae2a2498bab3"}}`)
	n := 0
	more := math.Inf(1) // than the library, in the round in which it is least
	for range rounds {  // the database itself is Go, and allocates now more, now less
		library := testing.AllocsPerRun(runs, func() {
			n++
			_, err := w.client.Insert(t.Context(), nativeArgs{N: n}, &river.InsertOpts{Queue: "mail", MaxAttempts: 3, Metadata: metadata, UniqueOpts: river.UniqueOpts{ByArgs: true}})
			must(t, err)
		})
		var intents []core.Intent
		for range runs + 1 { // AllocsPerRun warms up once
			intents = append(intents, w.intent(`{"n":1}`, core.Queue("mail"), core.MaxAttempts(3)))
		}
		next := 0
		own := testing.AllocsPerRun(runs, func() {
			must(t, w.exec.Execute(t.Context(), intents[next]))
			next++
		})
		t.Logf("%v allocations, the library %v", own, library)
		more = min(more, own-library)
	}
	if more > 5 {
		t.Errorf("%v allocations more than the library, want at most 5", more)
	}
}
