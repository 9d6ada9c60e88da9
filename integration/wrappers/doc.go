// Package wrappers runs the conformance suite on every wrapper of compose and
// through a scope, around the executors of this process. What an executor
// promises must hold through everything that wraps it.
package wrappers
