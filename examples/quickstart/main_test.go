package main

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

// The first command is up in seconds because of this.
func TestTheFirstCommandNeedsTheStandardLibraryAlone(t *testing.T) {
	t.Parallel()
	deps, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, dep := range strings.Fields(string(deps)) {
		if !strings.HasPrefix(dep, "github.com/goairlock/airlock") {
			t.Errorf("it imports %s", dep)
		}
	}
	if all, err := exec.Command("go", "list", "-deps", ".").Output(); err != nil || bytes.Contains(all, []byte("\nnet\n")) {
		t.Errorf("it imports net, which takes long to compile, or %v", err)
	}
}

func TestTheFirstCommand(t *testing.T) {
	t.Parallel()
	var out, errOut bytes.Buffer
	if err := run(t.Context(), nil, &out, &errOut); err != nil || errOut.Len() > 0 {
		t.Fatalf("%v, %s\n%s", err, &errOut, &out)
	}
	for _, want := range []string{"order A-1005: card declined", "\n  executor  orders", "\n      pool       6 ", "-executor all\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}

func TestOtherExecutorsAreBuiltAfterAWarning(t *testing.T) {
	t.Parallel()
	var out, errOut bytes.Buffer
	if err := run(t.Context(), []string{"-executor", "sync,asynq"}, &out, &errOut); err != nil {
		t.Fatalf("%v, %s\n%s", err, &errOut, &out)
	}
	if !strings.HasPrefix(errOut.String(), "Building the program with every executor.") {
		t.Errorf("standard error is %s", &errOut)
	}
	if !strings.Contains(out.String(), "\n     asynq       6 ") {
		t.Errorf("no row of asynq in\n%s", &out)
	}
	if err := run(t.Context(), []string{"-executor", "asynq", "-redis", "redis://127.0.0.1:1"}, &out, &errOut); err == nil || !strings.Contains(errOut.String(), "quickstart: asynq: ") {
		t.Errorf("error %v of a Redis that is not there: %s", err, &errOut)
	}
}
