// Command benchmarks compares each executor with the library it is built on and with
// its alternatives, in one interleaved run:
//
//	go run ./benchmarks -only pool
//
// Absolute times on one machine vary from run to run. The ratio of two contenders
// in the same round varies far less. So each round runs every contender once, in a
// random order. The result of a contender is the median, over all rounds, of its time
// divided by the reference's time in the same round.
//
// The servers are started for each group, as the tests of package integration/servers
// start them. AIRLOCK_REDIS_URL, AIRLOCK_NATS_URL, AIRLOCK_POSTGRES_URL and
// AIRLOCK_RABBITMQ_URL select servers that are there already. A group whose server is
// not installed is skipped, and the output says so.
//
// Dispatch groups measure how long a call takes. Worker groups (worker-nats, ...)
// compare ours with the library's own with the same jobs: the time, the CPU time
// and the allocations of each job at 10 and 100 slots, with an empty handler and one
// that waits, the time of a drain, and how soon a job starts on an idle queue.
//
// It prints a table, and writes a JSON file for each group. To add a group, write one
// file with a func that returns it, add that to groups or workerGroups, and say in
// targets what it is compared with.
//
// Measuring draws nothing. Drawing reads the JSON files alone:
//
//	go run ./benchmarks -results benchmarks/results -draw docs
package main
