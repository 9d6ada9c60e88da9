package natsexec

import (
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/goairlock/airlock/adapter"
)

// tryTimeout bounds one try to acknowledge or store something. A server that was
// restarted never answers acknowledgements of deliveries that it does not remember.
const tryTimeout = time.Second

// receipts waits for what the server confirms, of all jobs at once: acknowledgements,
// which it sends again until then, and signs of progress.
type receipts struct {
	w     *Worker
	inbox string
	sub   *nats.Subscription

	last atomic.Uint64 // the number that ends the last reply subject

	mu     sync.Mutex
	acks   map[uint64]*ack // guarded by mu
	closed bool            // guarded by mu; nothing is sent again

	signsMu sync.Mutex
	signs   map[uint64]sign // guarded by signsMu
}

// An ack is an acknowledgement that the server has not confirmed.
type ack struct {
	job   *job
	text  string
	until time.Time // when it is given up
	again time.Time // the next try
	pause time.Duration
	epoch uint64        // of the connection at the last try
	over  chan struct{} // closed when it is confirmed or given up; nil if nobody waits
}

// A sign is a sign of progress.
type sign struct {
	job  *job
	sent time.Time
}

func (w *Worker) newReceipts() (*receipts, error) {
	r := &receipts{w: w, inbox: w.conn.NewInbox() + ".", acks: map[uint64]*ack{}, signs: map[uint64]sign{}}
	var err error
	if r.sub, err = w.conn.Subscribe(r.inbox+"*", r.answer); err != nil {
		return nil, adapter.Masked(err)
	}
	// There are as many answers as receipts, and the client must not drop one.
	return r, r.sub.SetPendingLimits(-1, -1)
}

// acknowledge sends an acknowledgement until the server confirms it, for the length of
// a lease. Then the job leaves the worker. If too many others are not confirmed, it
// returns a channel to wait for this one.
func (r *receipts) acknowledge(j *job, text string) <-chan struct{} {
	now := time.Now()
	a := &ack{job: j, text: text, until: now.Add(j.source.lease())}
	number := r.last.Add(1)
	r.mu.Lock()
	r.acks[number] = a
	if len(r.acks) > r.w.opts.Concurrency {
		a.over = make(chan struct{})
	}
	closed := r.closed
	r.send(number, a, now)
	r.mu.Unlock()
	if closed {
		r.giveUp(number)
	}
	return a.over
}

// send makes one try. What cannot be sent is tried again like what was lost. r.mu is
// held.
func (r *receipts) send(number uint64, a *ack, now time.Time) {
	a.again, a.epoch = now.Add(tryTimeout), r.w.conn.Stats().Reconnects
	reply, _ := a.job.lease.address()
	_ = r.w.conn.PublishRequest(reply, r.inbox+strconv.FormatUint(number, 10), []byte(a.text))
}

// answer takes what the server confirms.
func (r *receipts) answer(m *nats.Msg) {
	number, err := strconv.ParseUint(m.Subject[len(r.inbox):], 10, 64)
	if err != nil {
		return
	}
	nobody := m.Header.Get("Status") == "503" // the consumer has no leader now
	r.signsMu.Lock()
	g, isSign := r.signs[number]
	delete(r.signs, number)
	r.signsMu.Unlock()
	if isSign && !nobody {
		g.job.lease.renew(g.sent, g.job.source.lease())
	}
	if isSign {
		return
	}
	r.mu.Lock()
	a := r.acks[number]
	if a != nil && nobody {
		a.pause = min(max(2*a.pause, firstTryPause), longestTryPause)
		a.again = time.Now().Add(a.pause)
	}
	r.mu.Unlock()
	if a != nil && !nobody {
		r.w.jobs.confirmed(a.job)
		r.end(number)
	}
}

// end forgets an acknowledgement, and its job leaves the worker.
func (r *receipts) end(number uint64) {
	r.mu.Lock()
	a := r.acks[number]
	delete(r.acks, number)
	r.mu.Unlock()
	if a == nil {
		return
	}
	if a.over != nil {
		close(a.over)
	}
	r.w.leave(a.job)
}

// giveUp is end for one that the server did not confirm. It is remembered and sent for
// the next delivery of its message.
func (r *receipts) giveUp(number uint64) {
	r.mu.Lock()
	a := r.acks[number]
	r.mu.Unlock()
	if a != nil {
		r.w.log(a.job, "the server did not confirm the acknowledgement: the job may run again", nil)
		r.end(number)
	}
}

// keep sends again what was not confirmed, and renews the leases of the jobs that are
// here. When Run gives up it sends nothing again. It ends when stop is closed.
func (r *receipts) keep(stop <-chan struct{}) {
	tick := time.NewTicker(min(r.w.shortestLease()/12, 200*time.Millisecond))
	defer tick.Stop()
	defer r.sub.Unsubscribe()
	settling := r.w.settling.Done()
	for {
		select {
		case <-tick.C:
			if r.w.conn.IsConnected() {
				r.repeat(time.Now())
				r.renew(time.Now())
			}
		case <-settling:
			settling = nil
			r.close()
		case <-stop:
			return
		}
	}
}

// repeat sends again what is due.
func (r *receipts) repeat(now time.Time) {
	epoch := r.w.conn.Stats().Reconnects
	var late []uint64
	r.mu.Lock()
	for number, a := range r.acks {
		switch {
		case now.After(a.until):
			late = append(late, number)
		case a.epoch != epoch, !now.Before(a.again):
			r.send(number, a, now)
		}
	}
	r.mu.Unlock()
	for _, number := range late {
		r.giveUp(number)
	}
}

// renew sends signs of progress for the jobs whose lease is a third over.
func (r *receipts) renew(now time.Time) {
	for _, j := range r.w.jobs.all() {
		j.lease.sign(now, j.source.lease(), func(reply string) {
			number := r.last.Add(1)
			r.signsMu.Lock()
			r.signs[number] = sign{j, now}
			r.signsMu.Unlock()
			_ = r.w.conn.PublishRequest(reply, r.inbox+strconv.FormatUint(number, 10), []byte("+WPI")) // the next one is due soon
		})
	}
	r.signsMu.Lock()
	defer r.signsMu.Unlock()
	for number, s := range r.signs {
		if now.Sub(s.sent) > s.job.source.lease() { // it will not be confirmed
			delete(r.signs, number)
		}
	}
}

// close gives up what is open.
func (r *receipts) close() {
	r.mu.Lock()
	r.closed = true
	open := slices.Collect(maps.Keys(r.acks))
	r.mu.Unlock()
	for _, number := range open {
		r.giveUp(number)
	}
}
