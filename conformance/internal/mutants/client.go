package mutants

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/goairlock/airlock/core"
)

// client is one connection to a broker. It connects when it needs to, and closes the
// connection at the first error.
type client struct {
	addr string
	bug  *lineBug
	turn chan struct{} // the goroutine that has sent to it may use what follows
	gone chan struct{} // closed by end, so that running calls fail

	conn  net.Conn // nil if there is none
	lines *bufio.Reader
	dead  bool // for a mutant
}

func newClient(addr string, b *lineBug) *client {
	return &client{addr: addr, bug: b, turn: make(chan struct{}, 1), gone: make(chan struct{})}
}

// clientTimeout is how long a client waits for a reply.
const clientTimeout = time.Minute

// call sends a request and returns the reply. sent reports whether the broker may
// have received the request.
func (c *client) call(ctx context.Context, req request) (r reply, sent bool, err error) {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return r, false, ctx.Err()
	}
	if err := c.connect(ctx); err != nil {
		return r, false, err
	}
	r, err = c.exchange(ctx, req)
	if err == nil {
		return r, true, nil
	}
	c.dead = c.bug.neverRedials
	if ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	if ctx.Err() == nil || !c.bug.keepsCancelled {
		c.close()
	}
	return r, true, err
}

func (c *client) connect(ctx context.Context) error {
	switch {
	case c.conn != nil:
		return nil
	case c.dead:
		return net.ErrClosed
	}
	var dialer net.Dialer
	for {
		select {
		case <-c.gone:
			return net.ErrClosed
		default:
		}
		conn, err := dialer.DialContext(ctx, "tcp", c.addr)
		if err == nil {
			c.conn, c.lines = conn, bufio.NewReader(conn)
			return nil
		}
		if !c.bug.redialsForEver || ctx.Err() != nil {
			return err
		}
		time.Sleep(ownBackoff)
	}
}

func (c *client) exchange(ctx context.Context, req request) (r reply, err error) {
	timeout := clientTimeout
	if c.bug.timeout > 0 && req.Op == "put" {
		timeout = c.bug.timeout
	}
	conn := c.conn
	returned := make(chan struct{})
	defer close(returned)
	go func() {
		select {
		case <-c.gone:
			conn.Close()
		case <-returned:
		}
	}()
	conn.SetDeadline(time.Now().Add(timeout))
	if !c.bug.ignoresContext {
		stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
		defer stop()
	}
	line, err := json.Marshal(req)
	if err != nil {
		return r, err
	}
	if _, err := conn.Write(append(line, '\n')); err != nil {
		return r, err
	}
	if c.bug.writeIsSuccess && req.Op == "put" {
		go c.lines.ReadBytes('\n')
		c.conn = nil // the reply arrives later, and is ignored
		return reply{States: make([]core.State, len(req.Jobs))}, errAssumed
	}
	if c.bug.readsOnce {
		buf := make([]byte, 1<<20)
		n, err := conn.Read(buf)
		if err != nil {
			return r, err
		}
		return r, json.Unmarshal(buf[:n], &r)
	}
	if line, err = c.lines.ReadBytes('\n'); err != nil {
		return r, err
	}
	return r, json.Unmarshal(line, &r)
}

// errAssumed is what a mutant returns instead of waiting for a reply.
var errAssumed = errors.New("assumed to be stored")

// end closes the client.
func (c *client) end() {
	close(c.gone)
	c.turn <- struct{}{}
	c.close()
	c.dead = true
	<-c.turn
}

// close closes the connection. The caller has the turn.
func (c *client) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}
