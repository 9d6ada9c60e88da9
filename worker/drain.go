package worker

import (
	"errors"
	"fmt"
)

// ErrStopping is the cause with which a job's context ends when its worker stops
// and the time for draining is over. See [context.Cause].
var ErrStopping = errors.New("airlock: the worker stops")

// DrainError is returned by a worker's Run if the worker stopped while handlers
// were still running, because they ignored the end of their contexts. Depending on
// the queue, their jobs are put back or run again when their lease is over.
type DrainError struct {
	Jobs []Delivery // still running
}

func (e *DrainError) Error() string {
	switch len(e.Jobs) {
	case 0:
		return "airlock: the worker stopped while jobs were still running"
	case 1:
		return fmt.Sprintf("airlock: the worker stopped while a job was still running: %v", e.Jobs[0])
	}
	return fmt.Sprintf("airlock: the worker stopped while %d jobs were still running, first %v", len(e.Jobs), e.Jobs[0])
}
