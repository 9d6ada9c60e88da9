package poolexec

import (
	"time"

	"github.com/goairlock/airlock/worker"
)

// apply does with a job what the verdict of its run says.
func (e *Executor) apply(s *slot, v worker.Verdict) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s.running = false
	switch v.Action {
	case worker.Retry, worker.Snoozed, worker.Interrupted:
		if e.closed {
			e.unrun = append(e.unrun, s.in)
			return
		}
		next := s.job
		if v.Action == worker.Retry {
			next.runs++
		}
		e.delay(next, time.Now().Add(v.After))
		return
	case worker.Done:
		e.known.Succeed(s.in.ID)
	default:
		e.sortInbox() // an intent that was sent again before the job was dead is no second job
		e.known.Release(s.in.ID)
	}
	if s.in.Options.Unique != "" {
		delete(e.unique, uniqueKeyOf(&s.in))
	}
}
