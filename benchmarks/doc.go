// Command benchmarks measures executors side by side with what they are built
// on, or would be instead, in one interleaved run:
//
//	go run ./benchmarks -only pool
//
// Absolute times of one machine vary from run to run, the ratio of two
// contenders inside one round far less. So each round runs every contender once,
// in an order of its own, and what is judged is the median over the rounds of
// each contender's time over the reference's in the same round.
//
// Redis and NATS are started for the run, Redis if redis-server is on PATH;
// AIRLOCK_REDIS_URL and AIRLOCK_NATS_URL name others, AIRLOCK_POSTGRES_URL a
// PostgreSQL. A group without its server is left out, and told.
//
// It prints a table, and writes for each group of contenders a JSON file and an
// SVG chart. To add a group, write one file with a func that returns it and add
// that to groups.
package main
