package examples

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goairlock/airlock/core"
)

// reports has the conformance report of each column of docs/choosing.md.
var reports = map[string]string{
	"asynq": "asynq", "River": "river", "NATS": "nats", "gocraft/work": "work",
	"RabbitMQ": "rabbitmq", "Celery": "celery-go", "pool": "pool",
}

// rows has what the cells of some rows of docs/choosing.md may begin with, given the
// capabilities. The other rows are about more than these.
var rows = map[string]func(core.Capabilities) []string{
	"delays, to":      func(c core.Capabilities) []string { return step(c.Options[core.OptionDelay].Granularity) },
	"largest payload": func(c core.Capabilities) []string { return size(c.MaxPayload) },
	"a call is stored whole or not at all": func(c core.Capabilities) []string {
		return choose(c.AtomicBatch, []string{"yes"}, []string{"no", "with `Atomic`"})
	},
	"an intent sent again is one job": func(c core.Capabilities) []string {
		return choose(c.IDWindow.Kind != "", []string{"for ", "the last "}, []string{"no", "with an inbox"})
	},
	"unique keys": func(c core.Capabilities) []string {
		return choose(c.Options[core.OptionUnique].Support != core.SupportRefused, []string{"yes"}, []string{"no", "with an inbox"})
	},
	"priorities": func(c core.Capabilities) []string {
		return map[int][]string{0: {"lanes", "ten levels, classic queues"}, 3: {"lanes"}, 4: {"four levels"}, 10: {"ten levels"}}[c.PriorityLevels]
	},
}

func TestChoosingSaysWhatTheReportsSay(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/choosing.md")
	must(t, err)
	var columns []string
	found := 0
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if len(cells) == len(reports)+1 && cells[0] == "" {
			columns = cells[1:]
		}
		want := rows[cells[0]]
		if want == nil || columns == nil {
			continue
		}
		found++
		for i, column := range columns {
			expected := want(claims(t, reports[column]))
			if !slices.ContainsFunc(expected, func(s string) bool { return strings.HasPrefix(cells[i+1], s) }) {
				t.Errorf("%s, %s: %q, want one of %q", cells[0], column, cells[i+1], expected)
			}
		}
	}
	if found != len(rows) {
		t.Errorf("%d of %d rows are in the page", found, len(rows))
	}
}

func claims(t *testing.T, report string) core.Capabilities {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../conformance/reports", report+".json"))
	must(t, err)
	var r struct{ Claims core.Capabilities }
	must(t, json.Unmarshal(text, &r))
	return r.Claims
}

func choose(is bool, yes, no []string) []string {
	if is {
		return yes
	}
	return no
}

func step(d time.Duration) []string {
	if d <= time.Nanosecond {
		return []string{"1 ns", "exact"}
	}
	return []string{strings.NewReplacer("ms", " ms", "µs", " µs", "s", " s").Replace(d.String())}
}

func size(bytes int) []string {
	switch {
	case bytes == 0:
		return []string{"no limit"}
	case bytes < 1<<20:
		return []string{fmt.Sprintf("%d KiB", bytes>>10)}
	case bytes%(1<<20) != 0:
		return []string{fmt.Sprintf("about %.0f MiB", float64(bytes)/(1<<20))}
	}
	return []string{fmt.Sprintf("%d MiB", bytes>>20)}
}
