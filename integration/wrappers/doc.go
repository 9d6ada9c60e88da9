// Package wrappers runs the conformance suite on every wrapper of compose and
// through a scope, around the executors of this process: what an executor
// promises must hold through whatever is put around it.
package wrappers
