// Package chaos has producers, workers and servers run as processes of their own while
// they are killed, paused and restarted. Every process writes a ledger to disk, and the
// test compares the ledgers: no accepted job may be lost, no other job may run, and a
// second run needs a cause.
package chaos
