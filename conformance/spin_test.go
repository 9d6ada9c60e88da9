package conformance_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
)

const endsBy = "AIRLOCK_CONFORMANCE_TEST_ENDS_BY"

// TestConformanceOfAnExecutorThatEndsTheRun is the program of a process that hangs or
// crashes, and does nothing as a test.
func TestConformanceOfAnExecutorThatEndsTheRun(t *testing.T) {
	way := os.Getenv(endsBy)
	if way == "" {
		return
	}
	conformance.Run(t, conformance.Harness{
		Subject: conformance.Subject{Name: "ending"}, InBubble: true, Scale: 0.02,
		New: func(conformance.T, conformance.Setup) conformance.System {
			caps := core.Capabilities{Executor: "ending"}
			return conformance.System{Inline: true, Caps: caps, Exec: adapter.Each(caps, func(context.Context, core.Intent) error {
				if way == "panic" {
					go func() { panic("in a goroutine of the executor") }()
					return nil
				}
				for n := 0; ; n++ {
					_ = n
				}
			})}
		},
	})
}

// endTheRun runs one check in a process of its own, and returns the result in the
// report that the process leaves.
func endTheRun(t *testing.T, way string) conformance.Result {
	t.Helper()
	dir := t.TempDir()
	child := exec.Command(os.Args[0], "-test.run=^TestConformanceOfAnExecutorThatEndsTheRun$/^K01$")
	child.Env = append(os.Environ(), endsBy+"="+way, "CONFORMANCE_REPORT="+dir)
	if out, err := child.CombinedOutput(); err == nil {
		t.Errorf("the process did not fail: %.500s", out)
	}
	b, err := os.ReadFile(filepath.Join(dir, "ending.json"))
	if err != nil {
		t.Fatal(err)
	}
	var report conformance.Report
	if err := json.Unmarshal(b, &report); err != nil {
		t.Fatal(err)
	}
	for _, r := range report.Results {
		if r.ID == "K01" {
			return r
		}
	}
	t.Fatalf("no result of K01 among %d", len(report.Results))
	return conformance.Result{}
}

// A goroutine that never stops cannot be ended, and the clock of its bubble stands
// still.
func TestACheckThatSpinsEndsWithAReport(t *testing.T) {
	t.Parallel()
	r := endTheRun(t, "spinning")
	if r.Kind != conformance.TimedOut || !strings.Contains(r.Got, "the executor of system 1") || !strings.Contains(r.Got, "spin_test.go") {
		t.Errorf("%s %s: %s", r.Verdict, r.Kind, r.Got)
	}
}

func TestAPanicInAGoroutineOfTheExecutorLeavesAReport(t *testing.T) {
	t.Parallel()
	if r := endTheRun(t, "panic"); r.Verdict != conformance.Error || !strings.Contains(r.Reason, "the process ended") {
		t.Errorf("%s: %s", r.Verdict, r.Reason)
	}
}
