package conformance_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/conformance/internal/mutants"
	"github.com/goairlock/airlock/core"
)

// variant returns the harness of an executor of package mutants.
func variant(t *testing.T, name string) conformance.Harness {
	t.Helper()
	all := mutants.All()
	i := slices.IndexFunc(all, func(v mutants.Variant) bool { return v.Name == name })
	if i < 0 {
		t.Fatalf("no variant %s", name)
	}
	return all[i].Harness()
}

func check(t *testing.T, h conformance.Harness, c conformance.Choice) *conformance.Report {
	t.Helper()
	c.Seed = 1
	report, err := conformance.Check(t.Context(), h, c)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestEvidenceOfPassedChecksDoesNotMislead(t *testing.T) {
	t.Parallel()
	report := check(t, variant(t, "reference"), conformance.Choice{Bubble: t, Only: []string{"F06", "L09", "L10", "L11", "P06", "P09"}})
	for _, r := range report.Results {
		e := r.Evidence
		if r.Verdict != conformance.Pass || e.Lost != 0 || e.Phantom != 0 || e.StoredTwice != 0 {
			t.Errorf("%s: %s, %+v", r.Name(), r.Verdict, *e)
		}
	}
}

func TestHistoriesHaveTheOptionsOfTheIntents(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "is", "created")
	report := check(t, variant(t, "timeout-once"), conformance.Choice{Bubble: t, Only: []string{"P13"}, Dir: dir})
	data, err := os.ReadFile(filepath.Join(dir, "P13.jsonl"))
	if err != nil {
		t.Fatalf("%v: %+v", err, report.Results)
	}
	if !strings.Contains(string(data), `"options":{"maxAttempts":2,"backoff":`) || !strings.Contains(string(data), `"timeout":"400ms"`) {
		t.Errorf("history:\n%s", data)
	}
}

func TestAReportSaysWhyTheHarnessLacksSomething(t *testing.T) {
	t.Parallel()
	h := plain(func(conformance.T, *conformance.System) {})
	h.Lacks = map[string]string{"Golden": "there was no release"}
	r := check(t, h, conformance.Choice{Only: []string{"A14"}}).Results[0]
	if want := "the harness has no Golden: there was no release"; r.Verdict != conformance.NotRun || r.Reason != want {
		t.Errorf("%s: %q, want %q", r.Verdict, r.Reason, want)
	}
}

// plain returns the harness of an executor that runs jobs before it returns.
func plain(change func(t conformance.T, sys *conformance.System)) conformance.Harness {
	caps := core.Capabilities{Executor: "plain", DefaultAttempts: 1}
	return conformance.Harness{Scale: 0.1, New: func(t conformance.T, s conformance.Setup) conformance.System {
		sys := conformance.System{Exec: adapter.Each(caps, s.Registry.Run), Caps: caps, Inline: true}
		change(t, &sys)
		return sys
	}}
}

func TestACheckThatHangsNamesTheOpenFunctionAndItsStack(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	defer close(release)
	report := check(t, plain(func(_ conformance.T, sys *conformance.System) {
		sys.Stop = func(context.Context) error { return hangs(release) }
	}), conformance.Choice{Only: []string{"L07"}})
	r := report.Results[0]
	if r.Kind != conformance.TimedOut || !strings.Contains(r.Got, "System.Stop of system 1 has not returned for") || !strings.Contains(r.Got, "conformance_test.hangs") {
		t.Errorf("%s: %s", r.Kind, r.Got)
	}
}

func hangs(release <-chan struct{}) error {
	<-release
	return nil
}

func TestAFailureCountsTheAcceptedJobsThatHaveNotStarted(t *testing.T) {
	t.Parallel()
	report := check(t, plain(func(_ conformance.T, sys *conformance.System) {
		sys.Exec = adapter.Each(sys.Caps, func(context.Context, core.Intent) error { return nil })
	}), conformance.Choice{Only: []string{"K01"}})
	if r := report.Results[0]; !strings.Contains(r.Got, `400 accepted jobs have not started: 400 of queue ""`) {
		t.Errorf("%s: %s", r.Verdict, r.Got)
	}
}

func TestEveryCheckFailsIfGoroutinesAreLeft(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	defer close(release)
	h := plain(func(conformance.T, *conformance.System) { go hangs(release) })
	r := check(t, h, conformance.Choice{Only: []string{"K02"}}).Results[0]
	if r.Verdict != conformance.Fail || r.Kind != conformance.Ending || !strings.Contains(r.Got, "conformance_test.hangs") {
		t.Errorf("%s %s: %s", r.Verdict, r.Kind, r.Got)
	}
	h.Shared = []string{"conformance_test.hangs"}
	if r := check(t, h, conformance.Choice{Only: []string{"K02"}}).Results[0]; r.Verdict != conformance.Pass {
		t.Errorf("with Harness.Shared: %s: %s", r.Verdict, r.Got)
	}
}

func TestGoroutinesOfARestartedBackendAreNotLeftBehind(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	defer close(release)
	h := variant(t, "reference")
	h.InBubble, h.Scale, h.Settle = false, 1, 20*time.Millisecond
	h.Restart = func(context.Context) error {
		go hangs(release)
		return nil
	}
	if r := check(t, h, conformance.Choice{Only: []string{"F09"}}).Results[0]; r.Verdict != conformance.Pass {
		t.Errorf("%s: %s %s", r.Verdict, r.Got, r.Reason)
	}
}
