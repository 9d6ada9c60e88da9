package natsexec

import (
	"sync"
	"time"
)

// A lease is the time in which a job belongs to this worker alone. The server does
// not say who has a job: it accepts an acknowledgement of an earlier delivery like one
// of the latest. So the worker's own clock decides.
type lease struct {
	mu      sync.Mutex
	until   time.Time // guarded by mu
	next    time.Time // guarded by mu; a sign of progress is due
	reply   string    // guarded by mu; where the server takes the acknowledgement
	adopted bool      // guarded by mu; the job was delivered again while it was ours
	dropped bool      // guarded by mu; no more signs of progress
	number  int       // guarded by mu; of the last delivery
}

// begin starts the lease with a delivery. The worker knows when it asked for that,
// and the server delivered later.
func (l *lease) begin(reply string, number int, asked time.Time, length time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	until := asked.Add(length - length/10)
	if !until.After(l.until) {
		return
	}
	l.number = number
	l.adopted = l.reply != ""
	l.reply, l.until, l.next = reply, until, asked.Add(length/3)
}

// held reports whether the job is still ours. A clock that was set, or that stood
// still while the machine slept, ends the lease early.
func (l *lease) held() bool { return l.left() > 0 }

func (l *lease) left() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.leftAt(time.Now())
}

func (l *lease) leftAt(now time.Time) time.Duration {
	return min(l.until.Sub(now), l.until.Round(0).Sub(now.Round(0)))
}

// sign calls send if a sign of progress is due, and reports whether it was. The next one
// is due after a while, unless this one is confirmed. Send is called with the lock held,
// so that none is sent after drop.
func (l *lease) sign(now time.Time, length time.Duration, send func(reply string)) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dropped || now.Before(l.next) || l.leftAt(now) <= 0 {
		return false
	}
	l.next = now.Add(length / 12)
	send(l.reply)
	return true
}

// renew extends the lease when the server has confirmed a sign of progress. A lease
// that ended meanwhile stays ended: the sign extended that of another worker.
func (l *lease) renew(sent time.Time, length time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leftAt(time.Now()) > 0 {
		l.until, l.next = sent.Add(length-length/10), sent.Add(length/3)
	}
}

// drop ends the signs of progress. None is sent after it has returned.
func (l *lease) drop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dropped = true
}

func (l *lease) address() (reply string, adopted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reply, l.adopted
}

// delivery returns the number of the delivery that the lease began with.
func (l *lease) delivery() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.number
}
