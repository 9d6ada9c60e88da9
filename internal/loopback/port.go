// Package loopback reserves TCP ports of 127.0.0.1 for servers that tests stop and start again.
//
// A port found by listening on port 0 and closing is anybody's the moment after: another process may be given it as the
// source port of an outgoing connection. A reserved [Port] stays ours while nobody listens on it, which is what makes
// "down" mean connection refused and lets the server come back at the same address.
package loopback

import (
	"fmt"
	"net"
	"strconv"
	"sync"
)

// A Port is a TCP port of 127.0.0.1 that the system gives to nobody else until Release.
//
// On Linux a bound socket that never listens holds it: connections are refused, and a server that sets SO_REUSEADDR, as
// net.Listen, Redis, PostgreSQL and nats-server do, can listen on it. On other systems the port is only known to have
// been free.
type Port struct {
	number  int
	release func()
}

// Reserve finds a free port. It fails only where the system has none left, or no sockets.
func Reserve() (*Port, error) {
	number, release, err := hold()
	if err != nil {
		return nil, fmt.Errorf("loopback: reserve a port: %w", err)
	}
	return &Port{number: number, release: sync.OnceFunc(release)}, nil
}

// Number is the port's number.
func (p *Port) Number() int { return p.number }

// Addr is 127.0.0.1 and the port, as net.Dial takes it.
func (p *Port) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.number)) }

// Release gives the port back. Who listens on it goes on listening. Further calls do nothing.
func (p *Port) Release() { p.release() }
