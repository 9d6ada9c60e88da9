package outbox

import (
	"context"
	"sync"
	"time"
)

// settler settles the rows that were sent from memory, in the background and in
// batches. It has a goroutine only while there are rows to settle.
type settler struct {
	box *Box

	mu      sync.Mutex
	pending []promised    // guarded by mu
	running bool          // guarded by mu
	idle    chan struct{} // guarded by mu; closed when the goroutine ends
	room    chan struct{} // guarded by mu; closed when pending gets shorter
}

// promised is a settlement and the end of the lease under which it is possible.
type promised struct {
	settlement
	token string // of the lease
	until time.Time
}

const (
	settleDelay   = 5 * time.Millisecond // how long the first row waits for others
	settleBatch   = 5000                 // rows of one batch
	settlePending = 50000                // rows that wait, before Committed waits too
)

// add takes settlements. If too many wait already, it waits until ctx ends.
func (s *settler) add(ctx context.Context, token string, all []settlement, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.pending) > settlePending && ctx.Err() == nil {
		room := s.room
		s.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
		}
		s.mu.Lock()
	}
	for _, one := range all {
		s.pending = append(s.pending, promised{one, token, until})
	}
	if !s.running && len(s.pending) > 0 {
		s.running, s.idle, s.room = true, make(chan struct{}), make(chan struct{})
		go s.run()
	}
}

// wait waits until nothing is pending.
func (s *settler) wait(ctx context.Context) error {
	s.mu.Lock()
	running, idle := s.running, s.idle
	s.mu.Unlock()
	if !running {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *settler) run() {
	time.Sleep(settleDelay)
	for {
		s.mu.Lock()
		if len(s.pending) == 0 {
			s.running = false
			close(s.idle)
			close(s.room)
			s.mu.Unlock()
			return
		}
		batch := s.pending[:min(settleBatch, len(s.pending))]
		s.pending = s.pending[len(batch):]
		close(s.room)
		s.room = make(chan struct{})
		s.mu.Unlock()
		s.settle(batch)
	}
}

// settle tries until the leases end. Then relays take the rows.
func (s *settler) settle(batch []promised) {
	// The token keeps a late statement from changing a row of another owner. So there
	// is time to try, even if a long transaction has used up the lease.
	until := time.Now().Add(s.box.lease / 2)
	byToken := map[string][]settlement{}
	wake := false
	for _, p := range batch {
		byToken[p.token] = append(byToken[p.token], p.settlement)
		if p.until.After(until) {
			until = p.until
		}
		wake = wake || p.kind == settleReturn
	}
	ctx, cancel := context.WithDeadline(context.Background(), until)
	defer cancel()
	wait := 50 * time.Millisecond
	for {
		err := s.settleEach(ctx, byToken)
		if err == nil {
			break
		}
		select {
		case <-time.After(wait):
			wait = min(2*wait, 2*time.Second)
		case <-ctx.Done():
			s.box.log().Warn("outbox: rows could not be settled, a relay takes them and sends them with the same IDs",
				"destination", s.box.dest, "rows", len(batch), "error", err.Error())
			return
		}
	}
	if wake {
		s.box.Wake()
	}
}

// settleEach settles the rows of each token, and takes away what it has settled.
func (s *settler) settleEach(ctx context.Context, byToken map[string][]settlement) error {
	for token, all := range byToken {
		if _, err := s.box.settle(ctx, s.box.db, token, all); err != nil {
			return err
		}
		delete(byToken, token)
	}
	return nil
}
