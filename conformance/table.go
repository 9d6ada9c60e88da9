package conformance

import (
	"slices"

	"github.com/goairlock/airlock/core"
)

// leakCheck is the check for goroutines that are left behind.
const leakCheck = "L12"

// table returns the whole suite. IDs never change their meaning. Texts may change.
func table() []check {
	return slices.Concat(
		contractChecks, fidelityChecks, batchChecks, cutChecks,
		optionChecks, attemptChecks, timeChecks, uniqueChecks,
		errorChecks, lifecycleChecks, shutdownChecks, outageChecks, replyChecks, flappingChecks, ackChecks, faultChecks, identityChecks, nativeChecks, traceChecks, questionChecks, claimChecks, meaningChecks, parkedChecks, crashChecks, windowChecks, nativeNameChecks, staleChecks, sizeChecks, ownOptionChecks, stoppingChecks, extremeChecks, surviveChecks, wearChecks,
		viewChecks, controlChecks,
		modelChecks, endChecks, lifeChecks, contextChecks, observerChecks, roomChecks, crowdChecks,
	)
}

// Info describes a check, for lists and documents.
type Info struct {
	ID    string
	Level Level
	Title string
	Why   string
	Cases []string // its parts, mostly options; nil if there is only one
}

// Checks returns all checks, sorted by ID.
func Checks() []Info {
	var list []Info
	for _, c := range table() {
		list = append(list, Info{c.id, c.level, c.title, c.why, c.cases})
	}
	slices.SortFunc(list, func(a, b Info) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return list
}

// optionCases returns the names of all portable options, for the cases of a check.
func optionCases() []string {
	var names []string
	for _, o := range core.PortableOptions() {
		names = append(names, string(o))
	}
	return names
}
