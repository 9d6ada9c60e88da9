package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const sample = "testdata/sample"

func mutate(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := run(t.Context(), append(args, sample), &out, io.Discard)
	return out.String(), err
}

func TestOnlyWhatNoTestLooksAtSurvives(t *testing.T) {
	t.Setenv("GOWORK", "off")
	out, err := mutate(t)
	if err == nil || !strings.Contains(err.Error(), "3 survivors are not explained") {
		t.Errorf("error %v", err)
	}
	if !strings.Contains(out, ", 3 survived.") {
		t.Error(out)
	}
	for _, change := range []string{"`> → >=`", "`> → <=`", "`3 → 4`"} {
		if !strings.Contains(out, "sample.go, Untested | "+change) {
			t.Errorf("%s is missing in\n%s", change, out)
		}
	}
	if strings.Contains(out, "sample.go, Tested") {
		t.Errorf("a change of the tested function survived:\n%s", out)
	}
}

func TestExplainedSurvivorsAreNoError(t *testing.T) {
	t.Setenv("GOWORK", "off")
	path := filepath.Join(t.TempDir(), "explained.txt")
	lines := "# why these survive\n\n"
	for _, change := range []string{"> → >=", "> → <=", "3 → 4"} {
		lines += "sample.go\tUntested\t" + change + "\tnobody looks\n"
	}
	if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := mutate(t, "-explained", path)
	if err != nil || strings.Count(out, "nobody looks") != 3 {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestBadInput(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "explained.txt")
	if err := os.WriteFile(broken, []byte("sample.go\tno reason\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"no folder":             nil,
		"two folders":           {"a", "b"},
		"a missing folder":      {"testdata/missing"},
		"a folder without Go":   {"testdata"},
		"no workers":            {"-workers", "0", sample},
		"no time":               {"-timeout", "0s", sample},
		"a bad pattern":         {"-files", "[", sample},
		"no such explanations":  {"-explained", "missing", sample},
		"malformed explanation": {"-explained", broken, sample},
		"tests that fail":       {"-run", "(", sample},
	} {
		if err := run(t.Context(), args, io.Discard, io.Discard); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestEachKindOfChangeIsMade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.go")
	source := `package x

func f(c chan int, p struct{ a int }) (ok bool, err error) {
	defer close(c)
	p.a = 7
	for i := range 3 {
		if ok {
			continue
		}
		c <- min(i, 2)
	}
	switch {
	case ok && err == nil:
		p.a++
	}
	_ = struct{ b int }{b: 1}
	return ok, err
}
`
	if err := os.WriteFile(path, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := mutationsOf(path)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range all {
		_, change, _ := strings.Cut(m.key(), "\tf\t")
		got = append(got, change)
	}
	want := []string{
		"defer close(c) → nothing", "p.a = → _ =", "7 → 8", "3 → 4", "ok → !(ok)", "continue → break",
		"c <- min(i, 2) → nothing", "min → max", "2 → 3", "p.a++ → nothing", "&& → ||", "== → !=",
		"p.a++ → nothing", "b: 1 → nothing", "1 → 2", "ok → !(ok)", "err → error(nil)",
	}
	for _, change := range want {
		if !slices.Contains(got, change) {
			t.Errorf("%q is missing in %q", change, got)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d changes, want %d: %q", len(got), len(want), got)
	}
}
