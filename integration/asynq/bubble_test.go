package asynq_test

import (
	"bytes"
	"context"
	"net"
	"sync"

	"github.com/alicebob/miniredis/v2"
	"github.com/goairlock/airlock/integration/trial"
	"github.com/redis/go-redis/v9"
)

// bubbles are embedded servers for bubbles of testing/synctest, one for each namespace. Clients reach them without a socket. So
// the servers use the bubble's clock, and waiting costs no time.
type bubbles struct {
	mu      sync.Mutex
	servers map[string]*miniredis.Miniredis // guarded by mu
}

// open connects to the server of a namespace. The server ends with the test that asked for it first.
func (b *bubbles) open(t trial.Cleaner, namespace string) connect {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.servers[namespace]
	if m == nil {
		m = miniredis.NewMiniRedis()
		m.ClockTTL(true)
		if b.servers == nil {
			b.servers = map[string]*miniredis.Miniredis{}
		}
		b.servers[namespace] = m
		t.Cleanup(m.Close)
	}
	return func() redis.UniversalClient {
		rdb := redis.NewClient(&redis.Options{
			Dialer:     func(context.Context, string, string) (net.Conn, error) { return dialEmbedded(m) },
			MaxRetries: -1, ReadTimeout: -2, WriteTimeout: -2, // no deadlines: the connection has none
		})
		t.Cleanup(func() { _ = rdb.Close() })
		return rdb
	}
}

// pipe is a connection in memory that buffers all replies. The embedded server answers each command of a pipeline before it reads
// the next one, and the client reads no reply before it has written the last command.
type pipe struct {
	net.Conn
	more chan struct{} // has room for one

	mu      sync.Mutex
	replies bytes.Buffer // guarded by mu
	err     error        // guarded by mu
}

func dialEmbedded(m *miniredis.Miniredis) (net.Conn, error) {
	conn, err := m.Dial()
	if err != nil {
		return nil, err
	}
	p := &pipe{Conn: conn, more: make(chan struct{}, 1)}
	go p.pump()
	return p, nil
}

// pump ends when the connection is closed.
func (p *pipe) pump() {
	b := make([]byte, 4096)
	for {
		n, err := p.Conn.Read(b)
		p.mu.Lock()
		p.replies.Write(b[:n])
		p.err = err
		p.mu.Unlock()
		select {
		case p.more <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

func (p *pipe) Read(b []byte) (int, error) {
	for {
		p.mu.Lock()
		if p.replies.Len() > 0 {
			n, _ := p.replies.Read(b)
			p.mu.Unlock()
			return n, nil
		}
		err := p.err
		p.mu.Unlock()
		if err != nil {
			return 0, err
		}
		<-p.more
	}
}
