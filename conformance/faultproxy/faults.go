package faultproxy

import "time"

// direction says which way bytes flow.
type direction int

const (
	requests direction = iota // client to server
	replies                   // server to client
)

// faults is what the proxy does to the bytes that it reads; the zero value does nothing.
type faults struct {
	delay     time.Duration
	slice     int
	lose      [2]bool // by direction
	cutting   bool
	cutAfter  int64 // request bytes left to pass while cutting
	losing    bool  // replies, once loseAfter request bytes have passed
	loseAfter int64
}

// Delay makes the proxy hold every byte for d, in each direction: a round trip takes at least 2d longer. Bytes are late, not
// scarce: those read within d travel together, up to 64 reads per direction. Opening a connection takes no longer. The
// delay holds for bytes read from now on; zero or less ends it.
func (p *Proxy) Delay(d time.Duration) {
	p.set(func(f *faults) { f.delay = d })
}

// Slice makes the proxy write pieces of n bytes, in both directions, so that readers see messages in parts. Each piece is a
// system call of its own: one-byte pieces pass some hundred kilobytes a second. Zero or less ends it.
func (p *Proxy) Slice(n int) {
	p.set(func(f *faults) { f.slice = n })
}

// CutAfter lets n more request bytes pass, whichever connections they come on, then resets the client's end of the connection
// that the last of them came on; the server's end is closed after those n bytes. The reply to them may or may not get
// through. With n of zero or less the next request byte is lost and its connection cut. The cut happens once; a further call
// replaces one that has not happened yet.
func (p *Proxy) CutAfter(n int64) {
	p.set(func(f *faults) { f.cutting, f.cutAfter = true, n })
}

// LoseReplies swallows what the servers send: requests arrive and are applied, and the client never hears of it. It sees
// neither an error nor an end until it gives up, or until Reset, Down or Heal. A request sent after LoseReplies returned gets
// no reply; connections are still accepted.
func (p *Proxy) LoseReplies() {
	p.set(func(f *faults) { f.lose[replies] = true })
}

// LoseRepliesAfter lets n more request bytes pass, whichever connections they come on, and then does what LoseReplies does,
// beginning with the reply to the request that the last of them is in. So the replies to the first steps of an operation
// get through and that to its last one is lost. With n of zero or less it begins at the next request byte.
func (p *Proxy) LoseRepliesAfter(n int64) {
	p.set(func(f *faults) { f.losing, f.loseAfter = true, n })
}

// LoseRequests swallows what clients send: the server never hears of it and the client waits, as with LoseReplies.
func (p *Proxy) LoseRequests() {
	p.set(func(f *faults) { f.lose[requests] = true })
}

func (p *Proxy) set(change func(*faults)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.faults)
}

// A parcel is what becomes of one read: the bytes to write, when, and how.
type parcel struct {
	data  []byte
	due   time.Time // zero: immediately
	slice int       // zero or less: whole
	cut   bool      // reset the connection after data
}

// pass decides what becomes of data that l read, and counts it. The parcel has its own copy.
func (p *Proxy) pass(l *link, dir direction, data []byte) parcel {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := &p.faults
	// After lost bytes nothing may pass any more, even if the fault is over.
	if f.lose[dir] || l.lost[dir] {
		l.lost[dir] = true
		p.countLost(dir, len(data))
		return parcel{}
	}
	if dir == requests && f.losing {
		if f.loseAfter -= int64(len(data)); f.loseAfter <= 0 {
			f.losing, f.lose[replies] = false, true
		}
	}
	out := parcel{slice: f.slice}
	if f.delay > 0 {
		out.due = time.Now().Add(f.delay)
		p.stats.Delayed += int64(len(data))
		p.notify()
	}
	if dir == requests && f.cutting {
		n := min(max(f.cutAfter, 0), int64(len(data)))
		f.cutAfter -= n
		if f.cutAfter <= 0 {
			f.cutting, out.cut = false, true
			l.lost[dir] = true
			p.countLost(dir, len(data)-int(n))
			data = data[:n]
		}
	}
	out.data = append([]byte(nil), data...)
	return out
}
