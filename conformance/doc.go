// Package conformance tests executors: whether an executor keeps the duties of
// core.Executor, and does with each option what its core.Capabilities declare.
//
// [Run] is for an executor's own test, and [Check] for programs. Both take a
// [Harness], which says how to make the system under test. What a harness cannot do
// is reported as not run, and never as passed. What is declared as refused must be
// refused. A check is inconclusive if what it provokes did not happen, or if the
// clock was set while it ran. docs/checks.md lists the checks.
//
// Every check ends by judging all that it has seen: lost jobs, jobs that nobody
// sent, jobs that ran twice, runs that got something else than was sent, outcomes that
// contradict the run, errors that are no answer, payloads in errors and logs, slots that
// no longer work, goroutines that are left. Package internal/mutants
// has a broken executor for every check, and so shows that each check can fail.
//
// A run leaves a report also if its process ends early (CONFORMANCE_REPORT): checks
// without a result have the verdict error. If a goroutine spins in a bubble, where time
// then stands still, the process is ended after six times the check's limit, and the
// report says which function was called and has the stacks.
//
// # Variables
//
//	CONFORMANCE_SEED    repeats a run
//	CONFORMANCE_LEVELS  some of core,options,faults,inspect; all of them if it is not set
//	CONFORMANCE_EFFORT  multiplies the rounds and durations of checks that repeat something; 1 if it is not set
//	CONFORMANCE_REPORT  a folder for the report, and for the histories of failed checks
//
// The folder is created. Without it, go test -artifacts keeps the histories; if it
// is used with -outputdir, that folder must exist.
package conformance
