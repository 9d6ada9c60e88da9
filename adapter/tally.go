package adapter

import "sync"

// A Tally counts verdicts that a worker is recording, so that it stops only when its
// queue has them all. The zero Tally is ready to use. It may be used by many goroutines.
type Tally struct {
	mu     sync.Mutex
	idle   chan struct{} // of Wait; guarded by mu
	count  int           // guarded by mu
	closed bool          // guarded by mu
}

// Begin counts one more, until done is called, once. It returns false after Wait has
// returned: nothing may be recorded then.
func (t *Tally) Begin() (done func(), ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, false
	}
	t.count++
	return t.done, true
}

func (t *Tally) done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count--
	t.close()
}

// Wait waits until nothing is being recorded.
func (t *Tally) Wait() {
	t.mu.Lock()
	if t.idle == nil {
		t.idle = make(chan struct{})
	}
	t.close()
	t.mu.Unlock()
	<-t.idle
}

// close ends Wait if it waits for nothing more.
func (t *Tally) close() {
	if t.idle != nil && t.count == 0 && !t.closed {
		t.closed = true
		close(t.idle)
	}
}
