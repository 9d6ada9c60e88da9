package loopback_test

import (
	"errors"
	"net"
	"runtime"
	"syscall"
	"testing"

	"github.com/goairlock/airlock/internal/loopback"
)

func TestPortIsRefusedUntilSomebodyListens(t *testing.T) {
	t.Parallel()
	port, err := loopback.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	defer port.Release()

	for range 3 {
		if conn, err := net.Dial("tcp", port.Addr()); err == nil {
			_ = conn.Close()
			t.Fatal("the dial succeeded although nobody listens")
		} else if runtime.GOOS != "windows" && !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("dial: %v, want connection refused", err)
		}

		listener, err := net.Listen("tcp", port.Addr())
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("tcp", port.Addr())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		if err := listener.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
