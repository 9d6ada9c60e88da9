package otelairlock

import (
	"slices"

	"github.com/goairlock/airlock/core"
)

// summary is what all intents of a call have in common. "" means that they differ.
type summary struct{ queue, task string }

func summaryOf(intents []core.Intent) summary {
	s := summary{queueOf(intents[0].Options.Queue), intents[0].Task}
	for i := range intents {
		if queueOf(intents[i].Options.Queue) != s.queue {
			s.queue = ""
		}
		if intents[i].Task != s.task {
			s.task = ""
		}
	}
	return s
}

// severity is the order of core.DispatchError, the worst state first.
var severity = []core.State{core.Unknown, core.Rejected, core.Failed, core.NotSent, core.Duplicate}

// worstOf returns the first outcome of the worst state, or nil if every intent was
// accepted.
func worstOf(out []core.Outcome) *core.Outcome {
	for _, state := range severity {
		if i := slices.IndexFunc(out, func(o core.Outcome) bool { return o.State == state }); i >= 0 {
			return &out[i]
		}
	}
	return nil
}

var outcomeNames = map[core.State]string{
	core.Unknown: "unknown", core.Accepted: "accepted", core.Duplicate: "duplicate",
	core.Rejected: "rejected", core.NotSent: "not_sent", core.Failed: "failed",
}

func outcomeName(s core.State) string { return outcomeNames[s] }
