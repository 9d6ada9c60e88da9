package asynq_test

import (
	"strings"
	"testing"

	"github.com/goairlock/airlock/core"
)

// lose sends intents, and returns when their jobs are stored and the replies are lost. Before that the server may know of a part
// of a pipeline only.
func (f *faulty) lose(intents []core.Intent) (result chan string) {
	f.Helper()
	f.warm()
	before := len(f.pending("default"))
	f.proxy.LoseReplies()
	result = make(chan string, 1)
	go func() { got, _ := f.States(intents...); result <- got }()
	f.Eventually("the jobs are stored", func() bool { return len(f.pending("default")) == before+len(intents) })
	return result
}

func TestALostReplyIsUnknownAndSendingAgainIsHarmless(t *testing.T) {
	t.Parallel()
	f := setupFaulty(t, -1)
	single, many := f.Batch(0, 1), append(f.Batch(1, 5), f.Intent("chosen", core.ID("x")))
	for _, intents := range [][]core.Intent{single, many} {
		result := f.lose(intents)
		f.proxy.Reset()
		if got := <-result; strings.ReplaceAll(got, "unknown", "") != strings.Repeat(", ", len(intents)-1) {
			t.Errorf("outcomes %s", got)
		}
		f.Must(f.proxy.Heal())
	}
	if got := len(f.pending("default")); got != 3+1+5 { // the witness
		t.Errorf("%d jobs are stored", got)
	}
	f.warm()
	f.Want("accepted", single...)
	f.Want("accepted, accepted, accepted, accepted, duplicate", many...)
	if got := len(f.pending("default")); got != 3+1+5 {
		t.Errorf("%d jobs are stored", got)
	}
}

func TestALostReplyThatTheClientHidesIsAccepted(t *testing.T) {
	t.Parallel()
	f := setupFaulty(t, 3)
	for _, intents := range [][]core.Intent{f.Batch(0, 1), f.Batch(1, 11)} {
		result := f.lose(intents)
		f.Must(f.proxy.Heal()) // the client's next try gets through, and finds its own job
		if got := <-result; strings.Count(got, "accepted") != len(intents) {
			t.Errorf("outcomes %s", got)
		}
	}
	if got := len(f.pending("default")); got != 3+1+10 {
		t.Errorf("%d jobs are stored", got)
	}
}

func TestStoredThenRefusedIsNeverNotSent(t *testing.T) {
	t.Parallel()
	f := setupFaulty(t, 1)
	for n, intents := range [][]core.Intent{f.Batch(0, 1), f.Batch(1, 3)} {
		result := f.lose(intents)
		f.proxy.Down() // the client's last error is a refused connection
		if got := <-result; strings.Count(got, "unknown") != len(intents) {
			t.Errorf("call %d: outcomes %s", n, got)
		}
		f.Must(f.proxy.Heal())
	}
	if got := len(f.pending("default")); got != 3+3 {
		t.Errorf("%d jobs are stored", got)
	}
}
