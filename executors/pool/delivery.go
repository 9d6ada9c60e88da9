package poolexec

import (
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// deliveryOf returns the next run of a job.
func deliveryOf(j *job) worker.Delivery {
	d := worker.FirstDelivery(&j.in)
	d.Attempt = j.runs + 1
	d.OwnGoroutine = true
	if d.MaxAttempts == 0 {
		d.MaxAttempts = core.DefaultMaxAttempts
	}
	if d.Backoff.IsZero() {
		d.Backoff = defaultBackoff
	}
	return d
}
