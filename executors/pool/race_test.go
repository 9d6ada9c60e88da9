//go:build race

package poolexec_test

const raceEnabled = true
