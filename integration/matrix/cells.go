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

// provenBy has the checks of each option beside those that have a case for it.
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

func rows() []row {
	var all []row
	for _, name := range core.PortableOptions() {
		all = append(all, row{string(name), func(c column) string { return option(c, name) }})
	}
	return append(all,
		row{"ID window", func(c column) string { return window(c.Claims.IDWindow) }},
		row{"delivery", func(c column) string { return string(c.Claims.Delivery) }},
		row{"an accepted job survives", func(c column) string { return durability(c.Claims.Durability) }},
		row{"a failed batch stored", func(c column) string { return batch(c.Claims.Batch) }},
		row{"largest payload", func(c column) string { return size(c.Claims.MaxPayload) }},
		row{"attempts by default", func(c column) string { return fmt.Sprint(c.Claims.DefaultAttempts) }},
		row{"checks passed / refused as declared / other", tally},
	)
}

// option says what an executor does with an option, if every check of it ran.
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
		core.Native: "native", core.Emulated: "our worker", core.NotApplicable: "holds by itself", core.Refused: "refused",
	}[claim.Support]
	if claim.Support == core.Native || claim.Support == core.Emulated {
		if g := granularity(claim.Granularity); g != "" {
			text += ", " + g
		}
		if name == core.OptionPriority {
			text += fmt.Sprintf(", %s, %d levels", c.Claims.Ranking, c.Claims.PriorityLevels)
		}
	}
	if undecided > 0 {
		return fmt.Sprintf("not proven: %d checks did not decide", undecided)
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
	return strings.TrimSuffix(strings.TrimSuffix(d.String(), "0s"), "m0")
}

func window(w core.Window) string {
	text := map[core.WindowKind]string{
		core.NoWindow: "none", core.UnfinishedWindow: "while unfinished", core.StoredWindow: "while stored",
		core.FixedWindow: w.For.String(),
	}[w.Kind]
	if w.Count > 0 {
		text += fmt.Sprintf(", last %d", w.Count)
	}
	return text
}

func durability(d core.Durability) string {
	if d == core.InBroker {
		return "the process"
	}
	return "nothing"
}

func batch(b core.Batch) string {
	if b == core.AtomicBatch {
		return "nothing"
	}
	return "what the outcomes say"
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
