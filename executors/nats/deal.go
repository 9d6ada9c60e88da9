package natsexec

import "time"

// deal turns free slots into requests.
func (f *feeder) deal(now time.Time) {
	f.free += int(f.w.released.Swap(0))
	if f.free == 0 || !f.w.conn.IsConnected() { // the client would ask later, when nobody listens any more
		return
	}
	if sources := f.w.sources; len(sources) > 1 {
		f.share(now)
	} else if sources[0].ready(now) && f.mayAsk(sources[0], f.free) {
		f.request(sources[0], f.free, waitAlone)
	}
}

// mayAsk reports whether a source may get a request for n jobs now. While it has one, a
// second one must be worth its while.
func (f *feeder) mayAsk(s *source, n int) bool {
	all, _ := s.open()
	return all == 0 || all < mostLines && 2*n >= f.w.opts.Concurrency
}

// stalledAfter is when a source that does not answer no longer keeps slots from others.
const stalledAfter = 20 * time.Millisecond

// share deals the free slots to the sources by weight. Sources that have jobs get them
// at once. The rest of the slots is spread over all sources and waits for jobs there.
func (f *feeder) share(now time.Time) {
	asking := false // some answer that is due may free slots
	hungry := func(s *source) bool {
		all, waiting := s.open()
		if waiting > 0 || !s.ready(now) || now.Before(s.idleUntil) {
			return false
		}
		return all == 0 || now.Sub(s.oldest()) < stalledAfter
	}
	left := f.free
	for left > 0 {
		s := mostCredit(f.w.sources, hungry)
		if s == nil {
			break
		}
		if s.dealt == 0 && !f.mayAsk(s, f.free) {
			asking = true // its turn: the slot waits for it
			break
		}
		charge(f.w.sources, hungry, s)
		s.dealt++
		left--
	}
	for _, s := range f.w.sources {
		if n := s.dealt; n > 0 {
			s.dealt = 0
			f.request(s, n, 0)
			asking = true
		}
	}
	if !asking && f.free > 0 {
		f.spread(now)
	}
}

// spread has every source that has no request wait for jobs with an equal part of the
// free slots.
func (f *feeder) spread(now time.Time) {
	without := func(s *source) bool {
		all, _ := s.open()
		return all == 0 && s.dealt == 0 && s.ready(now)
	}
	n := 0
	for _, s := range f.w.sources {
		if without(s) {
			n++
		}
	}
	if n == 0 {
		return
	}
	each, rest := f.free/n, f.free%n
	for range n {
		s := mostCredit(f.w.sources, without)
		charge(f.w.sources, without, s)
		s.dealt = each
		if rest > 0 {
			s.dealt, rest = s.dealt+1, rest-1
		}
		if s.dealt == 0 {
			break
		}
	}
	for _, s := range f.w.sources {
		if mine := s.dealt; mine > 0 {
			s.dealt = 0
			f.request(s, mine, waitShared)
		}
	}
}
