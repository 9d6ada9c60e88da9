// Package mutants has executors that break one rule each, and unusual executors that
// break none. They show that the conformance suite can fail: exactly the checks in
// kills.txt must fail. A plain test runs those, and every check on the legal variants.
// With CONFORMANCE_EFFORT or -update it runs every check on every variant.
package mutants

import (
	_ "embed"
	"slices"
	"strings"

	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// Variant is an executor with its harness.
type Variant struct {
	// Name never changes. It consists of words joined by hyphens.
	Name string
	// Breaks says which rule it breaks. For a legal variant it says what is unusual.
	Breaks string
	// Upstream names a project or an issue in which this has happened.
	Upstream string
	// Target is the ID of the check that must find it, or [AnyEnding]. It is "" for a
	// legal variant.
	Target string
	// Levels are the levels of the checks to run. None: all.
	Levels []conformance.Level
	// Sometimes are the IDs of further checks that may fail, depending on timing.
	Sometimes []string
	// Harness returns a new harness.
	Harness func() conformance.Harness
}

// AnyEnding is the target of a variant that the judgement at the end of some check
// finds, and no check before that.
const AnyEnding = "ending"

// Model is the check with random histories. It finds many mutants that other checks
// find too.
const Model = "M01"

// Legal reports whether the variant breaks no rule.
func (v Variant) Legal() bool { return v.Target == "" }

// KilledBy returns the IDs of all checks that fail for the variant, from kills.txt.
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

// All returns the variants, the legal ones first.
func All() []Variant {
	var all []Variant
	for _, list := range [][]Variant{legal, lossMutants, contractMutants, payloadMutants, optionMutants, errorMutants, workerMutants, gapMutants, lineMutants, questionMutants, claimMutants, meaningMutants, endingMutants, ownerMutants, windowMutants, nameMutants, sizeMutants, secretMutants, slotMutants, stopMutants, nearNameMutants, extremeMutants, wearMutants, lifeMutants, attemptMutants, callerMutants, poolMutants, inspectMutants, sentMutants, formMutants, mixedMutants, outsideMutants, wornMutants, observedMutants, roomMutants, crowdMutants} {
		all = append(all, list...)
	}
	return all
}

// queue returns a variant of the reference system.
func queue(name, target, breaks string, b bug) Variant {
	return Variant{Name: name, Target: target, Breaks: breaks, Harness: func() conformance.Harness { return queueHarness(b) }}
}

// inline returns a variant of an executor that runs jobs before it returns.
func inline(name, target, breaks string, caps core.Capabilities, change func(core.Executor, *worker.Registry) core.Executor) Variant {
	return Variant{Name: name, Target: target, Breaks: breaks, Harness: func() conformance.Harness { return inlineHarness(caps, change) }}
}

func (v Variant) sometimes(ids ...string) Variant {
	v.Sometimes = append(slices.Clone(v.Sometimes), ids...)
	return v
}

// like adds where it has happened.
func (v Variant) like(upstream string) Variant {
	v.Upstream = upstream
	return v
}
