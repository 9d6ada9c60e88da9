package workexec

import (
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

// lockFor is for how long a unique key is locked, counted from the time at which
// the job is due or is to be tried again. It ends locks that nobody else ends: the
// job was finished by another worker, and nobody asks for its key again.
const lockFor = 7 * 24 * time.Hour

// toNative returns one intent as the script takes it, apart from its message, which
// appendMessage makes.
func (e *Executor) toNative(in *core.Intent, now time.Time) run {
	o := &in.Options
	r := run{
		namespace: e.spaces.of(o.Queue), name: laneOf(in.Task, o.Priority),
		keep: milliseconds(e.window), hold: milliseconds(lockFor),
	}
	if o.At.After(now) {
		due := adapter.RoundUpTime(o.At, time.Second)
		r.due = due.Unix()
		wait := milliseconds(due.Sub(now))
		r.keep += wait
		r.hold += wait
	}
	if o.Unique != "" {
		r.unique = lockName(in.Task, o.Unique)
	}
	return r
}

// lockName returns what a lock's key ends with. No task has a space in its name.
func lockName(task, key string) string { return task + " " + key }

// milliseconds rounds up.
func milliseconds(d time.Duration) int64 {
	return int64(adapter.RoundUp(d, time.Millisecond) / time.Millisecond)
}
