package faultproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
)

// Dialer makes TCP connections that can all be cut, as if the process that they
// belong to had ended. Give it to the client of a worker, and call Cut where a
// test wants the worker killed. The zero value is ready. It is safe for concurrent
// use.
type Dialer struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{} // guarded by mu
	cut   bool                  // guarded by mu
}

// errCut is what dials return after Cut.
var errCut = fmt.Errorf("faultproxy: the dialer was cut: %w", syscall.ECONNREFUSED)

// DialContext is like the method of [net.Dialer]. After Cut its error wraps
// [syscall.ECONNREFUSED].
func (d *Dialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	if d.isCut() {
		return nil, errCut
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cut {
		return nil, errors.Join(errCut, conn.Close())
	}
	if d.conns == nil {
		d.conns = map[net.Conn]struct{}{}
	}
	c := &cuttable{Conn: conn, dialer: d}
	d.conns[c] = struct{}{}
	return c, nil
}

// Dial is DialContext without a context, for clients that want such a function.
func (d *Dialer) Dial(network, addr string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, addr)
}

// Cut resets the open connections and refuses new ones. What has been written is
// not lost if the system has sent it already. Further calls do nothing.
func (d *Dialer) Cut() {
	d.mu.Lock()
	d.cut = true
	conns := d.conns
	d.conns = nil
	d.mu.Unlock()
	for c := range conns {
		conn := c.(*cuttable).Conn
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // close sends a reset
		}
		_ = conn.Close()
	}
}

func (d *Dialer) isCut() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cut
}

// cuttable is a connection that its dialer knows until it is closed.
type cuttable struct {
	net.Conn
	dialer *Dialer
}

func (c *cuttable) Close() error {
	c.dialer.mu.Lock()
	delete(c.dialer.conns, net.Conn(c))
	c.dialer.mu.Unlock()
	return c.Conn.Close()
}
