package faultproxy_test

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goairlock/airlock/conformance/faultproxy"
)

// patience bounds every wait for something that must happen; a green run never uses it up.
const patience = 20 * time.Second

// An echoServer sends back what it receives.
type echoServer struct {
	listener net.Listener
	received atomic.Int64

	mu      sync.Mutex // guards conns
	conns   map[net.Conn]struct{}
	running sync.WaitGroup
}

func startEcho(t *testing.T) *echoServer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &echoServer{listener: listener, conns: map[net.Conn]struct{}{}}
	s.running.Go(s.accept)
	t.Cleanup(s.stop)
	return s
}

func (s *echoServer) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[conn] = struct{}{}
		s.mu.Unlock()
		s.running.Go(func() { s.serve(conn) })
	}
}

func (s *echoServer) serve(conn net.Conn) {
	defer conn.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := conn.Read(buf)
		s.received.Add(int64(n))
		if n > 0 {
			if _, err := conn.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// drain waits until every connection has ended from the other side, and so has been read to its end.
func (s *echoServer) drain() {
	_ = s.listener.Close()
	s.running.Wait()
}

func (s *echoServer) stop() {
	_ = s.listener.Close()
	s.mu.Lock()
	for conn := range s.conns {
		_ = conn.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
}

// setup is a fresh echo server with a proxy in front of it.
func setup(t *testing.T) (*echoServer, *faultproxy.Proxy) {
	t.Helper()
	server := startEcho(t)
	proxy, err := faultproxy.New(server.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	return server, proxy
}

func dial(t *testing.T, proxy *faultproxy.Proxy) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", proxy.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

func send(t *testing.T, conn net.Conn, message string) {
	t.Helper()
	if _, err := io.WriteString(conn, message); err != nil {
		t.Fatalf("send %q: %v", message, err)
	}
}

// echo sends message and demands it back.
func echo(t *testing.T, conn net.Conn, message string) {
	t.Helper()
	send(t, conn, message)
	reply := make([]byte, len(message))
	if _, err := io.ReadFull(conn, reply); err != nil {
		t.Fatalf("echo of %d bytes: %v", len(message), err)
	}
	if string(reply) != message {
		t.Fatalf("echo of %d bytes came back changed", len(message))
	}
}

func waitFor(t *testing.T, proxy *faultproxy.Proxy, cond func(faultproxy.Stats) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := proxy.WaitFor(ctx, cond); err != nil {
		t.Fatal(err)
	}
}

// wantBroken demands that the connection ends with an error or an early end of the stream, in time.
func wantBroken(t *testing.T, conn net.Conn) {
	t.Helper()
	n, err := conn.Read(make([]byte, 1))
	if n > 0 || err == nil {
		t.Fatal("the connection still answers")
	}
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		t.Fatalf("the connection hangs: %v", err)
	}
}
