// Package core holds the nouns of airlock: the [Intent] that says what should
// happen, the [Executor] that decides how, and what both sides agree on.
//
// A program declares its tasks once, as package variables of the code that
// wants things done:
//
//	var SendReceipt = core.DeclareTask[Receipt]("email.receipt", core.MaxAttempts(5))
//
// [Task.Intent] turns a task and its arguments into an Intent: encoded,
// validated, immutable. An Executor hands intents to a backend and answers
// with one [Outcome] for each. The worker half, [Registry.Perform], turns what
// the backend delivers back into a call of the handler, and the handler's
// answer into a [Verdict] that the backend understands.
//
// What an executor can do with each dispatch option is not left to its
// documentation: it stands in its [Capabilities], [Capabilities.Check] refuses
// everything else, and the conformance suite proves both.
//
// The package needs nothing but the standard library.
package core
