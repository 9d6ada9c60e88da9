package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
)

// summary is the README's table: eight rows in words that need no glossary. docs/matrix.md
// has all of it.
func summary(columns []column) string {
	return markdown([]row{
		{"`Delay`, `At`", brief(core.OptionDelay)},
		{"`Priority`", brief(core.OptionPriority)},
		{"`MaxAttempts`, `Backoff`", brief(core.OptionMaxAttempts, core.OptionBackoff)},
		{"`Timeout`, `Deadline`", brief(core.OptionTimeout, core.OptionDeadline)},
		{"a job sent twice with one ID is one job", briefWindow},
		{"`Unique`", brief(core.OptionUnique)},
		{"an accepted job survives a crash of the worker", briefDelivery},
		{"checks passed, failed", briefTally},
	}, columns)
}

// brief returns a cell about options that belong together: the weakest of them counts.
func brief(names ...core.OptionName) func(column) string {
	words := []string{refused, withWorker, native, alwaysTrue} // the weakest first
	short := []string{"refused", "with our worker", "yes", "always"}
	return func(c column) string {
		weakest := len(words) - 1
		for _, name := range names {
			text, _, _ := strings.Cut(option(c, name), ",") // without the granularity
			i := slices.Index(words, text)
			if i < 0 {
				return text // a check has failed, or did not decide
			}
			weakest = min(weakest, i)
		}
		return short[weakest]
	}
}

func briefWindow(c column) string {
	switch w := c.Claims.IDWindow; w.Kind {
	case "":
		return "no"
	case core.WindowFixed:
		return "for " + duration(w.For)
	case core.WindowUnfinished:
		return "until it is done"
	default:
		if w.For > 0 {
			return "until " + duration(w.For) + " after it is done"
		}
		if w.Count > 0 {
			return fmt.Sprintf("the last %d", w.Count)
		}
		return "while it is stored"
	}
}

func briefDelivery(c column) string {
	if c.Claims.Delivery == core.GuaranteeAtLeastOnce {
		return "yes"
	}
	return "no"
}

func briefTally(c column) string {
	passed, failed := 0, 0
	for i := range c.Results {
		switch c.Results[i].Verdict {
		case conformance.Pass, conformance.RefusedAsDeclared:
			passed++
		case conformance.Fail, conformance.Error:
			failed++
		}
	}
	return fmt.Sprintf("%d, %d", passed, failed)
}
