// Package mutants holds executors that break one rule each, the checks that
// find them, and odd executors that break none. They are how the conformance
// suite proves that it can fail: its own test runs every variant through every
// check and wants exactly the named ones to turn red.
package mutants

import (
	_ "embed"
	"strings"

	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
)

// Variant is an executor with its harness, made to be judged.
type Variant struct {
	// Name is stable: words joined by hyphens.
	Name string
	// Breaks is the rule that it breaks, in a few words; for a legal one what is
	// odd about it.
	Breaks string
	// Upstream names a project or an issue where this has really happened.
	Upstream string
	// Target is the ID of the check that is there to find it; "" for a variant
	// that is odd but legal.
	Target string
	// Levels are the levels that it is judged by; none for all.
	Levels []conformance.Level
	// Sometimes are IDs of further checks that notice it or not, as timing will.
	Sometimes []string
	// Harness makes a fresh one.
	Harness func() conformance.Harness
}

// Legal reports whether the variant breaks no rule.
func (v Variant) Legal() bool { return v.Target == "" }

// KilledBy lists the IDs of all checks that fail, and no others: the target and
// those that cannot help noticing. They stand in kills.txt.
func (v Variant) KilledBy() []string {
	for line := range strings.Lines(kills) {
		if name, ids, ok := strings.Cut(line, ":"); ok && name == v.Name {
			return strings.Fields(ids)
		}
	}
	return nil
}

//go:embed kills.txt
var kills string

// All lists the variants, the legal ones first.
func All() []Variant {
	var all []Variant
	for _, list := range [][]Variant{legal, lossMutants, contractMutants, payloadMutants, optionMutants, errorMutants, workerMutants, gapMutants, lineMutants} {
		all = append(all, list...)
	}
	return all
}

// queue is a variant of the reference system.
func queue(name, target, breaks string, b bug) Variant {
	return Variant{Name: name, Target: target, Breaks: breaks, Harness: func() conformance.Harness { return queueHarness(b) }}
}

// inline is a variant of an executor that runs jobs before it returns.
func inline(name, target, breaks string, caps core.Capabilities, change func(core.Executor, *core.Registry) core.Executor) Variant {
	return Variant{Name: name, Target: target, Breaks: breaks, Harness: func() conformance.Harness { return inlineHarness(caps, change) }}
}

func (v Variant) sometimes(ids ...string) Variant {
	v.Sometimes = ids
	return v
}

// like adds where it has really happened.
func (v Variant) like(upstream string) Variant {
	v.Upstream = upstream
	return v
}
