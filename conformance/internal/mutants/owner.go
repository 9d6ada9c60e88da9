package mutants

import (
	"time"

	"github.com/goairlock/airlock/worker"
)

// stale makes a bug of a worker that decides about jobs that it has lost.
func stale(which func(mine bool, v *worker.Verdict) bool) bug { return bug{stale: which} }

// ownerMutants let a worker decide that has lost its jobs.
var ownerMutants = []Variant{
	queue("stale-failure-retries", "F13", "retries a job that another worker has, or has done", stale(func(_ bool, v *worker.Verdict) bool {
		return v.Action == worker.Retry
	})).like("NATS and gocraft/work: a job ran a third time after it had succeeded"),
	queue("stale-late-failure-retries", "F13", "retries a job that is done, with its long backoff", stale(func(mine bool, v *worker.Verdict) bool {
		return mine && v.Action == worker.Retry && v.After > time.Second
	})),
	queue("stale-permanent-buries", "F13", "buries a job that another worker has done", stale(func(mine bool, v *worker.Verdict) bool {
		return mine && v.Action == worker.Dead
	})),
	queue("stale-permanent-cancels", "F13", "buries a job that another worker runs", stale(func(mine bool, v *worker.Verdict) bool {
		return !mine && v.Action == worker.Dead
	})).like("River: a stale Permanent cancels a job that runs"),
	queue("stale-snooze-repeats", "F13", "runs a job again that another worker has done", stale(func(mine bool, v *worker.Verdict) bool {
		return mine && v.Action == worker.Snoozed
	})),
	queue("stale-snooze-takes", "F13", "takes a job from the worker that runs it", stale(func(mine bool, v *worker.Verdict) bool {
		return !mine && v.Action == worker.Snoozed
	})),
	queue("stale-failure-buries", "F13", "ends for good, as dead, a job that another worker runs", stale(func(mine bool, v *worker.Verdict) bool {
		if v.Action == worker.Retry && !mine {
			v.Action = worker.Dead
			return true
		}
		return false
	})),
}
