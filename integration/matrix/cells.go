package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
)

// row is one line of the matrix.
type row struct {
	title string
	cell  func(c column) string
}

// provenBy lists the checks that prove an option, in addition to those that have a
// case named after it.
var provenBy = map[core.OptionName][]string{
	core.OptionQueue:       {"P06"},
	core.OptionPriority:    {"P07"},
	core.OptionDelay:       {"P08", "P09"},
	core.OptionMaxAttempts: {"P10"},
	core.OptionBackoff:     {"P11"},
	core.OptionTimeout:     {"P13"},
	core.OptionDeadline:    {"P14"},
	core.OptionID:          {"I01", "I02", "I03", "I04"},
	core.OptionUnique:      {"P15", "P16", "P17"},
	core.OptionHeader:      {"A11"},
}

// What a cell says about an option.
const (
	refused    = "refused"
	native     = "native"
	withWorker = "with our worker"
	alwaysTrue = "always true here"
)

func rows() []row {
	var all []row
	for _, name := range core.PortableOptions() {
		all = append(all, row{string(name), func(c column) string { return option(c, name) }})
	}
	return append(all,
		row{"ID window", func(c column) string { return window(c.Claims.IDWindow) }},
		row{"delivery", func(c column) string { return string(c.Claims.Delivery) }},
		row{"an accepted job survives", func(c column) string { return durability(c.Claims.Durability) }},
		row{"after a failed batch", func(c column) string { return batch(c.Claims.AtomicBatch) }},
		row{"largest payload", func(c column) string { return size(c.Claims.MaxPayload) }},
		row{"attempts by default", func(c column) string { return attempts(c.Claims.DefaultAttempts) }},
		row{"checks passed / refused as declared / other", tally},
	)
}

// option returns what an executor does with an option, if every check of it decided.
func option(c column, name core.OptionName) string {
	undecided := 0
	for i := range c.Results {
		r := &c.Results[i]
		if r.Case != string(name) && !slices.Contains(provenBy[name], r.ID) {
			continue
		}
		switch r.Verdict {
		case conformance.Fail, conformance.Error:
			return "FAIL " + r.Name()
		case conformance.NotRun, conformance.Inconclusive, conformance.Waived:
			undecided++
		}
	}
	claim := c.Claims.Options[name]
	text := map[core.Support]string{
		core.SupportNative: native, core.SupportEmulated: withWorker, core.SupportNotApplicable: alwaysTrue, core.SupportRefused: refused,
	}[claim.Support]
	if claim.Support == core.SupportNative || claim.Support == core.SupportEmulated {
		if g := granularity(claim.Granularity); g != "" {
			text += ", " + g
		}
		if name == core.OptionPriority {
			text += fmt.Sprintf(", %s, %d levels", c.Claims.Ranking, c.Claims.PriorityLevels)
		}
	}
	if undecided > 0 {
		return fmt.Sprintf("not proven: %s did not decide", checks(undecided))
	}
	return text
}

func granularity(d time.Duration) string {
	switch {
	case d <= time.Nanosecond:
		return ""
	case d < time.Microsecond:
		return d.String()
	}
	return duration(d)
}

// duration returns 5m for 5m0s and 1h for 1h0m0s.
func duration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func checks(n int) string {
	if n == 1 {
		return "1 check"
	}
	return fmt.Sprintf("%d checks", n)
}

func window(w core.Window) string {
	text := map[core.WindowKind]string{
		"": "none", core.WindowUnfinished: "while unfinished", core.WindowStored: "while stored",
		core.WindowFixed: duration(w.For),
	}[w.Kind]
	if w.Kind == core.WindowStored && w.For > 0 {
		text += ", " + duration(w.For) + " after success"
	}
	if w.Count > 0 {
		text += fmt.Sprintf(", last %d", w.Count)
	}
	if w.PerQueue {
		text += ", per queue"
	}
	return text
}

func durability(d core.Durability) string {
	if d == core.DurabilityBroker {
		return "the process"
	}
	return "nothing"
}

func batch(atomic bool) string {
	if atomic {
		return "nothing stored"
	}
	return "per-intent outcomes"
}

func attempts(n int) string {
	if n == 0 {
		return "unknown"
	}
	return fmt.Sprint(n)
}

func size(n int) string {
	switch {
	case n == 0:
		return "no limit"
	case n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}

func tally(c column) string {
	counts := map[conformance.Verdict]int{}
	for i := range c.Results {
		counts[c.Results[i].Verdict]++
	}
	other := len(c.Results) - counts[conformance.Pass] - counts[conformance.RefusedAsDeclared]
	return fmt.Sprintf("%d / %d / %d", counts[conformance.Pass], counts[conformance.RefusedAsDeclared], other)
}
