// Package work tests executors/work on an embedded Redis and on a real one.
package work
