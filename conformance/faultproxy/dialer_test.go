package faultproxy_test

import (
	"context"
	"errors"
	"net"
	"syscall"
	"testing"

	"github.com/goairlock/airlock/conformance/faultproxy"
)

func TestACutDialerResetsItsConnectionsAndRefusesNewOnes(t *testing.T) {
	t.Parallel()
	server, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	accepted := make(chan net.Conn, 2)
	go func() {
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	var d faultproxy.Dialer
	kept, err := d.DialContext(t.Context(), "tcp", server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	closed, err := d.Dial("tcp", server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Error(err)
	}
	d.Cut()
	d.Cut()
	if _, err := kept.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a write on a cut connection: %v", err)
	}
	first, second := <-accepted, <-accepted
	for range 2 { // one was closed, the other one reset
		for _, conn := range []net.Conn{first, second} {
			if _, err := conn.Read(make([]byte, 1)); err == nil {
				t.Error("the server can still read")
			}
		}
	}
	if _, err := d.DialContext(context.Background(), "tcp", server.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a dial after the cut: %v", err)
	}
	first.Close()
	second.Close()
}
