// Package adapter is for authors of executors. It has the code that several
// executors need.
//
// [Guard] makes an executor from a dispatch function and its capabilities. [Each]
// makes one from a function for a single intent. [Envelope] holds what a queue has
// no field for. [Drain] and [LogRun] are for workers. Programs that only dispatch
// or run jobs do not need this package.
package adapter
