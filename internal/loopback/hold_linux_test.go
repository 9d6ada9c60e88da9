package loopback_test

import (
	"net"
	"testing"

	"github.com/goairlock/airlock/internal/loopback"
)

func TestPortIsNotGivenTwice(t *testing.T) {
	t.Parallel()
	seen := map[int]bool{}
	for range 500 {
		port, err := loopback.Reserve()
		if err != nil {
			t.Fatal(err)
		}
		defer port.Release()
		if seen[port.Number()] {
			t.Fatalf("port %d was given twice", port.Number())
		}
		seen[port.Number()] = true
	}
	for range 2000 {
		listener, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if addr := listener.Addr().(*net.TCPAddr); seen[addr.Port] {
			t.Fatalf("the system gave away port %d, which is reserved", addr.Port)
		}
		if err := listener.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
