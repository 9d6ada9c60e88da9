// Package compose has wrappers: functions that take executors and return an
// executor.
//
// Over one executor:
//
//	WithRetry     sends again what was not accepted
//	WithTimeout   limits the duration of each call
//	WithLog       logs each call
//	WithHeaders   adds headers taken from the context
//	Strip         drops options that the executor refuses
//
// Over several:
//
//	WithPriority  sends urgent intents to one, all others to another
//	Route         chooses by task, by queue or by any function of the intent
//	WithFallback  sends to a second one what the first could not take
//	Split         sends a percentage to another one; it can change at run time
//	Mirror        sends copies to a second one
//
// They nest in any order. The order matters: a retry around a timeout limits each
// attempt, and a timeout around a retry limits all attempts together.
//
// # What every wrapper keeps
//
// A wrapper keeps the duties of [core.Executor]. It returns nil or a
// [*core.DispatchError] with one outcome per intent, in the order of the call. It
// does so even if an executor below returns a plain error, returns too few outcomes
// or panics. An intent that was accepted is never sent again. An intent that may be
// stored is Unknown. docs/outcomes.md shows what each wrapper does with each
// outcome.
//
// A wrapper over several executors divides a call into parts, one for each
// executor, and keeps the order of the intents in each part. The part with the
// call's first intent goes first. If a part fails, the parts after it are NotSent.
// A duplicate is no failure. Before the first part is sent, each executor is asked
// about its part. If one would refuse an intent, the whole call is refused and
// nothing is sent.
//
// If the end of the context kept a wrapper from sending something, every intent
// that was neither accepted nor a duplicate has the context's error.
//
// Bad arguments of a wrapper, such as a nil executor or a threshold of 11, do not
// panic. Each call then returns [core.ErrInvalid] with a text that names the
// mistake, and nothing is sent.
//
// # Questions
//
// Every wrapper can be asked, see [core.Executor.Capabilities] and
// [core.Executor.Check]. Check asks the executors to which the intents would go,
// and returns what a dispatch of them would be refused with. If the wrapper has bad
// arguments, every Check returns the mistake, and there are no Capabilities. If an
// executor below does not answer, Check returns nil, and there are no Capabilities.
// A question sends nothing and calls no hook.
//
// A wrapper over one executor has the Capabilities of that executor, except for
// [Strip]. A wrapper over several has their [CommonCapabilities], except for
// [WithFallback].
package compose
