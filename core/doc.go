// Package core has the basic types of airlock. An [Intent] says what should
// happen, and an [Executor] decides how. Both use the options, outcomes and errors
// of this package.
//
// A program declares its tasks once, as package variables next to the code that
// enqueues them:
//
//	var SendReceipt = core.DeclareTask[Receipt]("email.receipt", core.MaxAttempts(5))
//
// [Task.Intent] makes an Intent of a task and its arguments. The arguments are
// encoded and validated at once, and the intent never changes. An Executor hands
// intents to a backend and reports one [Outcome] for each.
//
// An executor declares in its [Capabilities] what it does with each option, and
// refuses every other option. The conformance suite tests both.
//
// Package airlock decides when intents leave, and package worker runs jobs. Package
// adapter has helpers for authors of executors. This package depends only on the
// standard library.
package core
