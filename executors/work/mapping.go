package workexec

import (
	"time"

	"github.com/goairlock/airlock/core"
)

// lockFor is for how long a unique key is locked, counted from the time at which
// the job is due or is to be tried again. It ends what nobody ends: the lock of a
// job that another worker has finished and whose key nobody asks for again.
const lockFor = 7 * 24 * time.Hour

// mapped is one intent as the script takes it, but for its message.
func (e *Executor) mapped(in *core.Intent, now time.Time) run {
	o := &in.Options
	r := run{
		namespace: e.prefix, name: in.Task,
		keep: milliseconds(e.window), hold: milliseconds(lockFor),
	}
	if o.Queue != "" && o.Queue != defaultQueue {
		r.namespace = prefixOf(Namespace(e.namespace, o.Queue))
	}
	if o.Priority > 0 {
		r.name = laneOf(in.Task, o.Priority)
	}
	if o.At.After(now) {
		due := nextSecond(o.At)
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

// lockName is what a lock's key ends with. No task has a space in its name.
func lockName(task, key string) string { return task + " " + key }

// milliseconds rounds up.
func milliseconds(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}

// nextSecond is the first full second that is not before t: the library counts in
// seconds, and one that was rounded down would be early.
func nextSecond(t time.Time) time.Time {
	if t.Nanosecond() == 0 {
		return t
	}
	return t.Add(time.Second - time.Duration(t.Nanosecond()))
}
