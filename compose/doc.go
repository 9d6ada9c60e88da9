// Package compose holds the verbs of airlock: functions that take executors and
// return an executor.
//
// Over one executor:
//
//	WithRetry     sends again what was not accepted
//	WithTimeout   bounds each call
//	WithLog       logs each call
//	WithHeaders   adds headers taken from the context
//	Strip         drops options that the executor refuses
//
// Over several:
//
//	WithPriority  urgent intents go to one, all others to another
//	Route         each task or queue has its own
//	WithFallback  what the first could not take goes to a second
//	Split         a percentage goes to a new one
//	Mirror        a second one gets copies
//
// They nest in any order, and the order says what is meant: a retry around a
// timeout bounds each attempt, a timeout around a retry bounds them all.
//
// # What all of them keep
//
// A wrapper keeps the duties that stand on [core.Executor]. Its answer is nil or
// a [*core.DispatchError] with one outcome per intent, in the order of the call,
// whatever the executors below return: a plain error, outcomes that are missing
// or out of order, a panic. An intent that was accepted is never sent again,
// and one that may be stored is never reported as anything but Unknown. The
// document docs/outcomes.md, which is generated from experiments, says what
// each wrapper does with each outcome.
//
// Over several executors the rule that a call with a refused intent sends
// nothing (duty 3) holds for each executor by itself. Each gets one call with
// its part, its intents in the order given; the parts go one after the other,
// the part of the call's first intent first, and those after a part that failed
// are NotSent. A duplicate is no failure.
//
// A wrapper that was made with something that cannot work, a nil executor or a
// threshold of 11, does not panic: every call through it is answered with
// [core.ErrInvalid], which names the mistake, and nothing is sent.
//
// # Capabilities
//
// A wrapper over one executor leaves its [core.Capabilities] as they are, Strip
// excepted, which says how. What a wrapper over several can be relied on for is
// [CommonCapabilities].
package compose
