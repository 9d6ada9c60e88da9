package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
)

func TestTheDocumentsAreWhatTheReportsSay(t *testing.T) {
	t.Parallel()
	if err := run("../..", true); err != nil {
		t.Error(err)
	}
}

// setup makes a repository with one report and a README.
func setup(t *testing.T, change func(*conformance.Report)) string {
	t.Helper()
	root := t.TempDir()
	report := &conformance.Report{
		Schema: "conformance-report/v1",
		Claims: &core.Capabilities{Executor: "x", Options: map[core.OptionName]core.Claim{
			core.OptionDelay: {Support: core.SupportNative, Granularity: 1e9},
		}},
		Results: []conformance.Result{
			{ID: "P08", Level: conformance.Options, Verdict: conformance.Pass},
			{ID: "P01", Level: conformance.Core, Case: "queue", Verdict: conformance.RefusedAsDeclared, Reason: "it is refused"},
		},
		Summary: map[conformance.Level]conformance.Outcome{conformance.Core: conformance.Success, conformance.Options: conformance.Success},
	}
	change(report)
	data, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string][]byte{
		"conformance/reports/x.json": data,
		"README.md":                  []byte("before\n" + begin + "old\n" + end + "after\n"),
	} {
		file = filepath.Join(root, file)
		if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(root, "docs"), 0o777); err != nil {
		t.Fatal(err)
	}
	return root
}

func TestACellIsWhatWasProven(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(*conformance.Report)
		want   string // in docs/matrix.md
		brief  string // in README.md
	}{
		"a claim that passed": {func(*conformance.Report) {}, "| delay | native, 1s |", "| `Delay`, `At` | yes |"},
		"a refusal":           {func(*conformance.Report) {}, "| queue | refused |", "| `Unique` | refused |"},
		"a claim with our worker": {func(r *conformance.Report) {
			r.Claims.Options[core.OptionDelay] = core.Claim{Support: core.SupportEmulated, Granularity: 10 * time.Second}
		}, "| delay | with our worker, 10s |", "| `Delay`, `At` | with our worker |"},
		"an option with nothing to do": {func(r *conformance.Report) {
			r.Claims.Options[core.OptionDelay] = core.Claim{Support: core.SupportNotApplicable}
		}, "| delay | always true here |", "| `Delay`, `At` | always |"},
		"retries whose backoff is refused": {func(r *conformance.Report) {
			r.Claims.Options[core.OptionMaxAttempts] = core.Claim{Support: core.SupportNative}
		}, "| max-attempts | native |", "| `MaxAttempts`, `Backoff` | refused |"},
		"an ID window with an end": {func(r *conformance.Report) {
			r.Claims.IDWindow = core.Window{Kind: core.WindowStored, For: 5 * time.Minute, PerQueue: true}
		}, "| ID window | while stored, 5m after success, per queue |", "| a job sent twice with one ID is one job | until 5m after it is done |"},
		"a batch that can be stored in part": {func(*conformance.Report) {}, "| after a failed batch | per-intent outcomes |", "| checks passed, failed | 2, 0 |"},
		"a failure": {func(r *conformance.Report) {
			r.Results[0].Verdict, r.Results[0].Want, r.Results[0].Got = conformance.Fail, "a second", "none"
			r.Summary[conformance.Options] = conformance.Failure
		}, "| delay | FAIL P08 |", "| `Delay`, `At` | FAIL P08 |"},
		"a check that did not run": {func(r *conformance.Report) {
			r.Results[0].Verdict, r.Results[0].Reason = conformance.NotRun, "no harness"
			r.Summary[conformance.Options] = conformance.Partial
		}, "| delay | not proven: 1 check did not decide |", "| `Delay`, `At` | not proven: 1 check did not decide |"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := setup(t, tc.change)
			if run(root, true) == nil {
				t.Error("the check accepts an old README")
			}
			if err := run(root, false); err != nil {
				t.Fatal(err)
			}
			if err := run(root, true); err != nil {
				t.Errorf("what was just written differs: %v", err)
			}
			for file, want := range map[string]string{"README.md": tc.brief, "docs/matrix.md": tc.want} {
				text, err := os.ReadFile(filepath.Join(root, file))
				if err != nil || !bytes.Contains(text, []byte(want)) {
					t.Errorf("%s has no %q: %v\n%s", file, want, err, text)
				}
			}
		})
	}
}

func TestUnusableInputIsAnError(t *testing.T) {
	t.Parallel()
	empty := setup(t, func(r *conformance.Report) { r.Results = nil })
	unmarked := setup(t, func(*conformance.Report) {})
	if err := os.WriteFile(filepath.Join(unmarked, "README.md"), []byte("no marks"), 0o666); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ root, want string }{
		"no reports":      {t.TempDir(), "no reports"},
		"an empty report": {empty, "x.json"},
		"no marks":        {unmarked, "marks"},
	} {
		if err := run(tc.root, false); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}
