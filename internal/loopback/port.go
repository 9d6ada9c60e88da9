// Package loopback reserves TCP ports of 127.0.0.1 for servers that tests stop and
// start again.
//
// A port found by listening on port 0 is free for others as soon as the listener is
// closed: the system may use it as the source port of an outgoing connection. A
// reserved [Port] is not used for anything else while nobody listens on it. So a
// connection to a server that is down is refused, and the server can come back at the
// same address.
package loopback

import (
	"fmt"
	"net"
	"strconv"
	"sync"
)

// A Port is a TCP port of 127.0.0.1 that the system gives to nobody else until Release.
//
// On Linux a socket that is bound and never listens holds the port. Connections are
// refused, and a server that sets SO_REUSEADDR can listen on it, as net.Listen, Redis,
// PostgreSQL and nats-server do. On other systems the port was free when it was
// reserved, and nothing holds it.
type Port struct {
	number  int
	release func()
}

// Reserve reserves a free port. It fails only if the system has no port or socket left.
func Reserve() (*Port, error) {
	number, release, err := hold()
	if err != nil {
		return nil, fmt.Errorf("loopback: reserve a port: %w", err)
	}
	return &Port{number: number, release: sync.OnceFunc(release)}, nil
}

// Number returns the port's number.
func (p *Port) Number() int { return p.number }

// Addr returns 127.0.0.1 and the port, in the form that net.Dial takes.
func (p *Port) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.number)) }

// Release ends the reservation. A listener on the port is not affected. Further calls
// do nothing.
func (p *Port) Release() { p.release() }
