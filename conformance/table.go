package conformance

import (
	"slices"

	"github.com/goairlock/airlock/core"
)

// leakCheck is the check that turns red when a bubble finds goroutines that
// were left behind.
const leakCheck = "L12"

// table is the whole suite. IDs are stable for ever; texts are free.
func table() []check {
	return slices.Concat(
		contractChecks, fidelityChecks, batchChecks, cutChecks,
		optionChecks, attemptChecks, timeChecks, uniqueChecks,
		errorChecks, lifecycleChecks, shutdownChecks, outageChecks, replyChecks, flappingChecks, ackChecks, faultChecks, identityChecks, nativeChecks, traceChecks,
	)
}

// Info describes one check, for lists and documents.
type Info struct {
	ID    string
	Level Level
	Title string
	Why   string
	Cases []string // its parts, mostly options; none if it is one
}

// Checks lists all checks.
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

// optionCases are the names of all portable options, as cases of a check.
func optionCases() []string {
	var names []string
	for _, o := range core.PortableOptions() {
		names = append(names, string(o))
	}
	return names
}
