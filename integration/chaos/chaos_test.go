//go:build realservers

package chaos_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// effort multiplies the time of the faults. With more than 1,
// every cell runs.
func effort(t *testing.T) int {
	t.Helper()
	text := os.Getenv("CONFORMANCE_EFFORT")
	if text == "" {
		return 1
	}
	n, err := strconv.Atoi(text)
	must(t, err)
	return n
}

// TestChaos runs every queue under faults. In short, each queue has one cell: all faults
// if its lease is short, and otherwise deploys, after which nothing waits for a lease.
func TestChaos(t *testing.T) {
	n := effort(t)
	for _, name := range slices.Sorted(maps.Keys(queues)) {
		cells := []string{"rolling deploys"}
		if n > 1 {
			cells = slices.Sorted(maps.Keys(faults))
		} else if queues[name].lease < 5*time.Second {
			cells = []string{"all at once"}
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, cell := range cells {
				t.Run(cell, func(t *testing.T) {
					r := newRig(t, name)
					got := r.run(faults[cell], time.Duration(n)*6*time.Second)
					r.check(cell, &got)
				})
			}
		})
	}
}

// check fails the test for what may not happen, and writes a row of the table.
func (r *rig) check(cell string, got *result) {
	r.Helper()
	// The intents that a killed producer had in hand are in one batch.
	if got.accepted == 0 || got.tried-got.accepted > 20*r.killedProducers {
		r.Errorf("%d intents were accepted of %d", got.accepted, got.tried)
	}
	few := func(ids []string) []string { return ids[:min(len(ids), 5)] }
	if len(got.lost) > 0 {
		r.Errorf("%d accepted jobs did not run to their end, such as %v", len(got.lost), few(got.lost))
	}
	if len(got.phantom) > 0 {
		r.Errorf("%d jobs ran that nobody sent, such as %v", len(got.phantom), few(got.phantom))
	}
	if len(got.unexplained) > 0 {
		r.Errorf("%d runs after a success have no cause, such as %v", len(got.unexplained), few(got.unexplained))
	}
	row := fmt.Sprintf("| %s | %s | %d | %d | %d | %d | %d | %.1f s |\n", r.queue, cell, got.accepted,
		len(got.lost), len(got.phantom), got.explained, len(got.unexplained), got.recovery.Seconds())
	r.Log(row)
	if path := os.Getenv("CHAOS_REPORT"); path != "" {
		must(r, appendRow(path, row))
	}
}

var reportLock sync.Mutex

func appendRow(path, row string) error {
	reportLock.Lock()
	defer reportLock.Unlock()
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	if _, err := file.WriteString(row); err != nil {
		return err
	}
	return file.Close()
}
