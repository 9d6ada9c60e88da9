package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
)

func TestTheDocumentsAreWhatTheReportsSay(t *testing.T) {
	t.Parallel()
	if err := run("../..", true); err != nil {
		t.Error(err)
	}
}

// world is a repository with one report and a README.
func setup(t *testing.T, change func(*conformance.Report)) string {
	t.Helper()
	root := t.TempDir()
	report := &conformance.Report{
		Schema: "conformance-report/v1",
		Claims: &core.Capabilities{Executor: "x", Options: map[core.OptionName]core.Claim{
			core.OptionDelay: {Support: core.Native, Granularity: 1e9},
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
		want   string
	}{
		"a claim that passed": {func(*conformance.Report) {}, "| delay | native, 1s |"},
		"a refusal":           {func(*conformance.Report) {}, "| queue | refused |"},
		"a failure": {func(r *conformance.Report) {
			r.Results[0].Verdict, r.Results[0].Want, r.Results[0].Got = conformance.Fail, "a second", "none"
			r.Summary[conformance.Options] = conformance.Failure
		}, "| delay | FAIL P08 |"},
		"a check that did not run": {func(r *conformance.Report) {
			r.Results[0].Verdict, r.Results[0].Reason = conformance.NotRun, "no harness"
			r.Summary[conformance.Options] = conformance.Partial
		}, "| delay | not proven: 1 checks did not decide |"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := setup(t, tc.change)
			if run(root, true) == nil {
				t.Error("an old README passes for a new one")
			}
			if err := run(root, false); err != nil {
				t.Fatal(err)
			}
			if err := run(root, true); err != nil {
				t.Errorf("what was just written differs: %v", err)
			}
			for _, file := range []string{"README.md", "docs/matrix.md"} {
				text, err := os.ReadFile(filepath.Join(root, file))
				if err != nil || !bytes.Contains(text, []byte(tc.want)) {
					t.Errorf("%s has no %q: %v\n%s", file, tc.want, err, text)
				}
			}
		})
	}
}

func TestUnusableInputIsTold(t *testing.T) {
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
