package natsexec

import (
	"sync"
	"time"
)

// A jobKey is one message. A stream that was created anew begins with the same
// sequences.
type jobKey struct {
	seq    uint64
	stored int64 // in nanoseconds since 1970
}

// A jobList has the jobs of this worker, so that a message that the server delivers
// again, because it was restarted or got no sign, is not run a second time here.
type jobList struct {
	mu      sync.Mutex
	running map[jobKey]*job   // guarded by mu; until they are acknowledged
	settled map[jobKey]string // guarded by mu; acknowledgements that the server did not confirm
}

// mostSettled bounds the memory of jobs whose end the server never confirmed.
const mostSettled = 10_000

// admit takes a job in. If it is here already, it gets the new delivery, and admit
// returns false. If its acknowledgement was never confirmed, admit returns that.
func (l *jobList) admit(j *job, asked time.Time) (ack string, admitted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if here := l.running[j.key]; here != nil {
		here.lease.begin(j.msg.Reply, j.delivered, asked, j.source.lease())
		return "", false
	}
	j.lease.begin(j.msg.Reply, j.delivered, asked, j.source.lease())
	if l.running == nil {
		l.running, l.settled = map[jobKey]*job{}, map[jobKey]string{}
	}
	l.running[j.key] = j
	return l.settled[j.key], true
}

// settle notes the acknowledgement that the server must get.
func (l *jobList) settle(j *job, ack string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key := range l.settled {
		if len(l.settled) < mostSettled {
			break
		}
		delete(l.settled, key)
	}
	l.settled[j.key] = ack
}

// confirmed forgets what the server knows.
func (l *jobList) confirmed(j *job) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.settled, j.key)
}

// leave ends a job's time here. The next delivery of its message is run.
func (l *jobList) leave(j *job) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.running[j.key] == j {
		delete(l.running, j.key)
	}
}

// all returns the jobs that are here.
func (l *jobList) all() []*job {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]*job, 0, len(l.running))
	for _, j := range l.running {
		list = append(list, j)
	}
	return list
}
