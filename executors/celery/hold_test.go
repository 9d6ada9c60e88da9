package celeryexec

import (
	"encoding/json"
	"testing"
)

// inHandJob is a job with the delivery tag "tag" of the queue mail.
func inHandJob(field string, redelivered bool) *job {
	headers := map[string]json.RawMessage{}
	if redelivered {
		headers["redelivered"] = json.RawMessage("true")
	}
	return &job{message: &message{headers: headers}, tag: "tag", native: "mail", field: field}
}

// A job that was given away, although its worker was only slow, comes back to the
// worker that runs it. The run goes on, and settles the job where it is now.
func TestAJobThatComesBackToItsWorkerIsNotRunTwice(t *testing.T) {
	t.Parallel()
	h := inHand{jobs: map[string]*job{}}
	first := inHandJob("1", false)
	if !h.add(first) || h.add(inHandJob("2", true)) {
		t.Fatal("a job is not in hand, or is run twice")
	}
	if h.has("1") || !h.has("2") || h.fieldOf(first) != "2" {
		t.Error("the run does not go on under the new field")
	}
	if field := h.settle(first); field != "2" {
		t.Errorf("field %s is settled, want 2", field)
	}
	if !h.add(inHandJob("3", true)) {
		t.Error("a job that comes back while it is settled is dropped")
	}
	if h.remove(first); h.has("2") || !h.has("3") {
		t.Error("another job is gone with the one that is done")
	}
	other := inHandJob("4", true)
	if other.native = "post"; !h.add(other) {
		t.Error("a job of another queue is dropped")
	}
}

// Two messages may have one delivery tag, if a program has copied one.
func TestMessagesWithOneTagAreJobsOfTheirOwn(t *testing.T) {
	t.Parallel()
	h := inHand{jobs: map[string]*job{}}
	first, second := inHandJob("1", false), inHandJob("2", false)
	if !h.add(first) || !h.add(second) {
		t.Fatal("a copy is dropped")
	}
	if h.remove(first); h.has("1") || !h.has("2") {
		t.Error("the second job is gone with the first one")
	}
}
