//go:build unix

package main

import (
	"syscall"
	"time"
)

// cpuTime is what this process has used so far, for itself and in the kernel. The
// servers are processes of their own.
func cpuTime() time.Duration {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		return 0
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}
