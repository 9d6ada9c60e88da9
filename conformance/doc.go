// Package conformance is the suite that judges executors: whether an executor
// keeps the duties of core.Executor and does with each option what its
// core.Capabilities claim.
//
// [Run] is for an executor's own test, [Check] for programs. Both take a
// [Harness], which says how to make the system under test. What a harness
// cannot do is reported as not run, and never as passed; what is claimed to be
// refused must be refused; and a check whose provocation did not bite, or that
// failed while somebody set the clock, is inconclusive. The executors in the
// package mutants show that each check can fail.
//
// # Variables
//
//	CONFORMANCE_SEED    repeats a run
//	CONFORMANCE_LEVELS  some of core,options,faults; all if it is not set
//	CONFORMANCE_EFFORT  multiplies rounds and durations of what is repeated: 1 if it is not set
//	CONFORMANCE_REPORT  a folder for reports
package conformance
