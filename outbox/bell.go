package outbox

import "sync"

// bell wakes the relays that wait. The zero value is ready.
type bell struct {
	mu      sync.Mutex
	waiting chan struct{} // guarded by mu; closed by ring; nil if nobody waits
}

// wait returns a channel that the next ring closes.
func (b *bell) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiting == nil {
		b.waiting = make(chan struct{})
	}
	return b.waiting
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiting != nil {
		close(b.waiting)
		b.waiting = nil
	}
}
