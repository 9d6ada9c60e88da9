package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/conformance/internal/mutants"
)

// judged runs two checks of a variant and keeps their report and histories in dir.
func judged(t *testing.T, name, dir string) (report string) {
	t.Helper()
	for _, v := range mutants.All() {
		if v.Name != name {
			continue
		}
		r, err := conformance.Check(context.Background(), v.Harness(), conformance.Choice{Only: []string{"B01", "K07", "X06"}, Dir: dir, Bubble: t})
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := r.WriteJSON(&b); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "report.json")
		if err := os.WriteFile(file, b.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
		return file
	}
	t.Fatalf("no variant %s", name)
	return ""
}

func TestAReportAndTheHistoryOfWhatFailedAreReadAgain(t *testing.T) {
	dir := t.TempDir()
	var out strings.Builder
	code, err := show(&out, judged(t, "chunk-of-500", dir), false)
	if err != nil || code != 1 {
		t.Errorf("exit code %d, %v", code, err)
	}
	for _, want := range []string{"B01 fail: want ", "X06 not-applicable: ", "core     failure", "3 checks, 1 passed, 1 failed", "repeat: CONFORMANCE_SEED="} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
	out.Reset()
	if code, err = show(&out, filepath.Join(dir, "B01.jsonl"), false); err != nil || code != 1 || strings.Contains(out.String(), "Lost:0") {
		t.Errorf("exit code %d, %v: %s", code, err, out.String())
	}
}

func TestAReportOfSuccessIsSuccess(t *testing.T) {
	var out strings.Builder
	if code, err := show(&out, judged(t, "reference", t.TempDir()), true); err != nil || code != 0 || !strings.Contains(out.String(), "K07 pass, ") {
		t.Errorf("exit code %d, %v: %s", code, err, out.String())
	}
}

func TestWhatTheSuiteCannotHaveWrittenIsRefused(t *testing.T) {
	dir := t.TempDir()
	good, err := os.ReadFile(judged(t, "chunk-of-500", dir))
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ old, new, want string }{
		"another schema":    {"conformance-report/v1", "conformance-report/v9", "schema"},
		"an unknown check":  {`"id": "K07"`, `"id": "K99"`, "K99: no such check"},
		"an unknown field":  {`"schema":`, `"skema": "", "schema":`, "skema"},
		"a better summary":  {`"core": "failure"`, `"core": "success"`, "the summary"},
		"a turned verdict":  {`"verdict": "fail"`, `"verdict": "pass"`, "the summary"},
		"a made-up verdict": {`"verdict": "fail"`, `"verdict": "fine"`, `no verdict "fine"`},
		"a check twice":     {`"id": "K07"`, `"id": "B01"`, "B01 appears twice"},
		"a missing reason":  {`"verdict": "pass"`, `"verdict": "not-run"`, "without a reason"},
		"no report":         {"{", "", "report"},
	} {
		text := strings.Replace(string(good), tc.old, tc.new, 1)
		if text == string(good) {
			t.Fatalf("%s: nothing to replace", name)
		}
		file := filepath.Join(dir, "bad.json")
		if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := show(&strings.Builder{}, file, false); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, tc.want)
		}
	}
	if _, err := show(&strings.Builder{}, filepath.Join(dir, "none.json"), false); err == nil {
		t.Error("a missing file is no error")
	}
}
