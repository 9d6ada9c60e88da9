// Package faultproxy is a TCP proxy for tests that breaks the connection between a client and its server on demand.
//
// The client is given [Proxy.Addr] in place of the server's address. A new proxy passes bytes unchanged; each method
// below adds one fault, and faults add up until [Proxy.Heal]:
//
//	Down              connections are refused, and those that are open are reset
//	Reset             those that are open are reset, once
//	CutAfter          the next n request bytes pass, then their connection is reset, once
//	LoseReplies       requests pass, replies vanish: the server has done what the client believes to have failed
//	LoseRepliesAfter  the same, from the reply to the n-th request byte on
//	LoseRequests      requests vanish, and the client waits for a reply
//	Delay             every byte is late
//	Slice             bytes arrive in small pieces
//
// Requests are the bytes from client to server, replies those from server to client; the proxy does not know where a
// message ends.
//
// # Witness
//
// A test proves nothing if its fault hits something else, such as a handshake. So do the same operation once before (clients
// prepare on first use), and look at [Proxy.Stats] afterwards: it counts what each fault has done.
//
// # Traps
//
// Some clients bypass a proxy: cluster clients and NATS learn the servers' addresses from the servers. Others hide a fault:
// they retry, or buffer while the connection is down.
//
// # Goroutines
//
// A proxy has one goroutine that accepts and a handful for each connection; [Proxy.Close] waits for all of them. All
// methods may be called from any goroutine.
package faultproxy

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/goairlock/airlock/internal/loopback"
)

// A Proxy listens on a port of 127.0.0.1 and passes every connection on to its target. Use [New].
type Proxy struct {
	target string
	port   *loopback.Port

	running sync.WaitGroup // the goroutines of all links

	op        sync.Mutex      // serialises Up, Down, Heal and Close, and guards the next three
	listener  net.Listener    // nil while down
	accepting *sync.WaitGroup // the accept loop of listener
	closed    bool

	mu      sync.Mutex // guards what follows
	faults  faults
	links   map[*link]struct{}
	stats   Stats
	changed chan struct{} // closed at the next change of stats; nil while nobody waits
	over    bool          // closed, as WaitFor sees it
}

// New starts a proxy in front of target, a TCP address as [net.Dial] takes it. The target is dialled anew for each
// connection and need not be there yet; while it is not, connections are accepted and reset, which a client may already see
// in its dial. The caller closes the proxy.
//
// It returns an error where target cannot be an address or no port can be opened.
func New(target string) (*Proxy, error) {
	if _, _, err := net.SplitHostPort(target); err != nil {
		return nil, fmt.Errorf("faultproxy: target: %w", err)
	}
	port, err := loopback.Reserve()
	if err != nil {
		return nil, fmt.Errorf("faultproxy: %w", err)
	}
	p := &Proxy{target: target, port: port, links: map[*link]struct{}{}}
	if err := p.Up(); err != nil {
		port.Release()
		return nil, err
	}
	return p, nil
}

// Addr is the address to give to the client: 127.0.0.1 and a port that stays the same until Close.
func (p *Proxy) Addr() string { return p.port.Addr() }

// Down refuses new connections and resets the open ones. When it returns, a dial answers "connection refused" and nothing
// passes any more. Other faults stay as they are. Further calls do nothing.
func (p *Proxy) Down() {
	p.op.Lock()
	defer p.op.Unlock()
	p.down()
}

// Up undoes Down: the proxy listens again at the same address. It does nothing if the proxy is up.
//
// It returns an error wrapping [net.ErrClosed] after Close, and the listener's where the port was taken meanwhile, which
// cannot happen on Linux.
func (p *Proxy) Up() error {
	p.op.Lock()
	defer p.op.Unlock()
	return p.up()
}

// Reset resets the connections open now, at both ends, and waits until they are gone. New ones are accepted.
func (p *Proxy) Reset() { p.reset(func(*link) bool { return true }) }

// Heal ends every fault and brings the proxy up. Connections that lost bytes are reset, since what follows a hole in a
// stream would be misread. Errors are those of Up.
func (p *Proxy) Heal() error {
	p.op.Lock()
	defer p.op.Unlock()
	p.set(func(f *faults) { *f = faults{} })
	p.reset((*link).lossy)
	return p.up()
}

// Close stops listening, resets the open connections and waits for every goroutine of the proxy. Further and concurrent
// calls wait too. Stats still answers afterwards.
func (p *Proxy) Close() {
	p.op.Lock()
	defer p.op.Unlock()
	if p.closed {
		return
	}
	p.closed = true
	p.down()
	p.running.Wait()
	p.port.Release()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	p.notify()
}

// up needs op.
func (p *Proxy) up() error {
	if p.closed {
		return fmt.Errorf("faultproxy: %w", net.ErrClosed)
	}
	if p.listener != nil {
		return nil
	}
	listener, err := net.Listen("tcp4", p.port.Addr())
	if err != nil {
		return fmt.Errorf("faultproxy: %w", err)
	}
	p.listener, p.accepting = listener, &sync.WaitGroup{}
	p.accepting.Go(func() { p.accept(listener) })
	return nil
}

// down needs op. The system refuses connections only once the accept loop, which holds the listening socket, is over;
// after that there are no new links to miss.
func (p *Proxy) down() {
	if p.listener == nil {
		return
	}
	_ = p.listener.Close()
	p.accepting.Wait()
	p.listener = nil
	p.Reset()
}

// acceptPause is how long the proxy waits after a failed accept, for example without free file descriptors.
const acceptPause = 5 * time.Millisecond

func (p *Proxy) accept(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			time.Sleep(acceptPause)
		default:
			p.carry(conn.(*net.TCPConn))
		}
	}
}

// carry registers a link before its goroutine starts, so that a Reset after the accept finds it.
func (p *Proxy) carry(client *net.TCPConn) {
	l := newLink(p, client)
	p.mu.Lock()
	p.links[l] = struct{}{}
	p.mu.Unlock()
	p.running.Go(func() {
		defer close(l.done)
		l.run()
		p.mu.Lock()
		delete(p.links, l)
		p.mu.Unlock()
	})
}

// reset ends the chosen links and waits for their goroutines. The choice is made under mu.
func (p *Proxy) reset(chosen func(*link) bool) {
	p.mu.Lock()
	var links []*link
	for l := range p.links {
		if chosen(l) {
			links = append(links, l)
		}
	}
	p.mu.Unlock()
	for _, l := range links {
		l.end(resetBoth)
	}
	for _, l := range links {
		<-l.done
	}
}
