package conformance_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/goairlock/airlock/conformance"
)

var update = flag.Bool("update", false, "write docs/checks.md")

const checksFile = "../docs/checks.md"

func TestTheListOfChecksIsCurrent(t *testing.T) {
	t.Parallel()
	want := checksPage()
	if *update {
		if err := os.WriteFile(checksFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(checksFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("docs/checks.md is not current: go test ./conformance -run TestTheListOfChecksIsCurrent -update")
	}
}

// checksPage is the page that lists all checks.
func checksPage() []byte {
	var b bytes.Buffer
	b.WriteString(`# The checks

<!-- Written by: go test ./conformance -run TestTheListOfChecksIsCurrent -update -->

The conformance suite has these checks. An ID never changes its meaning. The letter
is the group: K contract, A arguments, B batches, P options, I identity, X errors,
L lifecycle, F faults, M models of a job's life, Q questions, N native producers and
consumers, T traces and middleware, V inspectors. What a harness must offer for a check
is in [Write an executor](write-an-executor.md).

Every check ends with the same judgement of all that it has seen: no accepted job is
lost, nothing runs that was not sent or that was reported as not sent, no job runs
again after it has succeeded, two runs of a job do not overlap, an outcome does not
contradict the run, every run gets its job as it was sent (ID, task, queue, payload,
headers, times and limits), every error has the form of an answer, no error and no line
of the log shows a payload or a header value, every slot of the worker still works, and
no goroutine is left. Such a failure has the kind "ending". In most checks some of the
jobs have harmless options that the executor honours, drawn from the seed.
`)
	for _, level := range []struct {
		level conformance.Level
		what  string
	}{
		{conformance.Core, "Every executor must pass these."},
		{conformance.Options, "These are about one option or one part of the contract. What an executor declares as refused is tested to be refused."},
		{conformance.Faults, "These break connections, kill workers and restart the backend."},
		{conformance.Inspect, "These are about the executor's inspector, and are run if the harness Inspects."},
	} {
		fmt.Fprintf(&b, "\n## Level %s\n\n%s\n\n| ID | What must hold | Why it matters |\n|---|---|---|\n", level.level, level.what)
		for _, c := range conformance.Checks() {
			if c.Level != level.level {
				continue
			}
			what := c.Title
			if len(c.Cases) > 0 {
				what += " (for each of: " + strings.Join(c.Cases, ", ") + ")"
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", c.ID, escape(what), escape(c.Why))
		}
	}
	return b.Bytes()
}

func escape(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
