package syncexec

import "github.com/goairlock/airlock/worker"

// Options tune an [Executor]. The zero value works; a nil *Options is the same.
type Options struct {
	// Registry has the handlers of declared tasks, the middleware and the
	// observers. Nil: only tasks of core.NewTask can be run.
	Registry *worker.Registry

	// RememberIDs is how many IDs of jobs that succeeded are remembered, so that
	// the same intent sent again is not run again. 0 means 10 000, which take about
	// 1.5 MB. Less than 0 remembers none. The IDs of running jobs are always known.
	RememberIDs int
}

const defaultRemember = 10_000
