package faultproxy

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"time"
)

const (
	readSize    = 32 << 10         // bytes per read at most
	underWay    = 64               // parcels read and not yet written, per direction
	dialTimeout = 10 * time.Second // for a target that neither accepts nor refuses
)

// A link is one connection of a client together with its connection to the target.
type link struct {
	proxy  *Proxy
	client *net.TCPConn
	ctx    context.Context // over when the link ends
	cancel context.CancelFunc
	done   chan struct{} // closed when all its goroutines are over

	lost [2]bool // by direction: has a hole; guarded by proxy.mu

	mu     sync.Mutex   // guards what follows
	server *net.TCPConn // nil until dialled
	ended  bool
}

// ending says how a link's sockets are closed.
type ending int

const (
	closeBoth   ending = iota // both ends were closed by their peers
	resetBoth                 // a fault
	cutClient                 // a fault: the server still gets what was passed
	resetByPeer               // one peer reset its end: so does the link with the other
	refused                   // the target cannot be reached
)

func newLink(p *Proxy, client *net.TCPConn) *link {
	ctx, cancel := context.WithCancel(context.Background())
	return &link{proxy: p, client: client, ctx: ctx, cancel: cancel, done: make(chan struct{})}
}

// lossy needs proxy.mu.
func (l *link) lossy() bool { return l.lost[requests] || l.lost[replies] }

// run carries the link until it ends.
func (l *link) run() {
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(l.ctx, "tcp", l.proxy.target)
	if err != nil {
		l.end(refused)
		return
	}
	server := conn.(*net.TCPConn)
	if !l.join(server) {
		_ = server.Close()
		return
	}
	var pumps sync.WaitGroup
	l.pump(&pumps, requests, l.client, server)
	l.pump(&pumps, replies, server, l.client)
	pumps.Wait()
	l.end(closeBoth)
	l.proxy.count(func(s *Stats) { s.Open-- })
}

// join makes server part of the link, unless the link has ended meanwhile.
func (l *link) join(server *net.TCPConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return false
	}
	l.server = server
	l.proxy.count(func(s *Stats) { s.Connections++; s.Open++ })
	return true
}

// end closes the link's sockets, which ends its goroutines; it does not wait for them. Only the first call counts.
func (l *link) end(how ending) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	l.ended = true
	l.cancel()
	switch how {
	case resetBoth, cutClient:
		l.proxy.count(func(s *Stats) { s.Cut++ })
	case refused:
		l.proxy.count(func(s *Stats) { s.Refused++ })
	}
	// With a linger of zero, close sends a reset.
	if how != closeBoth {
		_ = l.client.SetLinger(0)
	}
	_ = l.client.Close()
	if l.server == nil {
		return
	}
	if how == resetBoth || how == resetByPeer {
		_ = l.server.SetLinger(0)
	}
	_ = l.server.Close()
}

// pump starts the two goroutines of one direction. There are two because a delayed byte must not hold up the reading, and
// so the timing, of the next.
func (l *link) pump(owner *sync.WaitGroup, dir direction, src, dst *net.TCPConn) {
	parcels := make(chan parcel, underWay)
	owner.Go(func() {
		defer close(parcels)
		l.read(dir, src, parcels)
	})
	owner.Go(func() { l.write(dir, dst, parcels) })
}

func (l *link) read(dir direction, src *net.TCPConn, parcels chan<- parcel) {
	buf := make([]byte, readSize)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			out := l.proxy.pass(l, dir, buf[:n])
			select {
			case parcels <- out:
			case <-l.ctx.Done():
				return
			}
			if out.cut {
				return
			}
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			l.end(resetByPeer)
			return
		}
	}
}

// write ends the stream to dst when parcels ends, as src ended its own.
func (l *link) write(dir direction, dst *net.TCPConn, parcels <-chan parcel) {
	for out := range parcels {
		if !l.wait(out.due) {
			return
		}
		if err := l.deliver(dir, dst, out); err != nil {
			l.end(resetByPeer)
			return
		}
		if out.cut {
			l.end(cutClient)
			return
		}
	}
	_ = dst.CloseWrite()
}

// wait reports false when the link ends before the time is due.
func (l *link) wait(due time.Time) bool {
	left := time.Until(due)
	if due.IsZero() || left <= 0 {
		return l.ctx.Err() == nil
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.ctx.Done():
		return false
	}
}

// deliver counts before it writes, so that a byte that was received is counted.
func (l *link) deliver(dir direction, dst *net.TCPConn, out parcel) error {
	piece := len(out.data)
	sliced := out.slice > 0
	if sliced {
		piece = min(piece, out.slice)
	}
	for data := out.data; len(data) > 0; {
		n := min(piece, len(data))
		l.proxy.countPassed(dir, n, sliced)
		wrote, err := dst.Write(data[:n])
		if err != nil {
			l.proxy.countPassed(dir, wrote-n, false)
			return err
		}
		data = data[n:]
		if sliced {
			runtime.Gosched() // gives the reader time to read only this piece
		}
	}
	return nil
}
