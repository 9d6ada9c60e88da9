package servers_test

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/goairlock/airlock/integration/servers"
)

// patience bounds every wait for something that must happen; a green run never uses it up.
const patience = 2 * time.Minute

// A stoppable is what all servers have in common.
type stoppable interface {
	Addr() string
	Kill() error
	Restart() error
	Stop() error
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantRefused waits for the refusal: while another test forks, its child holds a
// copy of our listening sockets until it has become another program.
func wantRefused(t *testing.T, addr string) {
	t.Helper()
	var err error
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		var conn net.Conn
		if conn, err = net.Dial("tcp", addr); err == nil {
			_ = conn.Close()
			continue
		}
		if errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
	}
	t.Fatalf("dial %s: %v, want connection refused", addr, err)
}

func wantServing(t *testing.T, addr string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	must(t, err)
	must(t, conn.Close())
}

// wantLifeCycle takes a server through its life and leaves it stopped.
func wantLifeCycle(t *testing.T, server stoppable) {
	t.Helper()
	addr := server.Addr()
	wantServing(t, addr)
	must(t, server.Kill())
	wantRefused(t, addr)
	must(t, server.Kill())
	must(t, server.Restart())
	wantServing(t, addr)
	must(t, server.Restart())
	wantServing(t, addr)
	must(t, server.Stop())
	wantRefused(t, addr)
	must(t, server.Stop())
	for name, call := range map[string]func() error{"Kill": server.Kill, "Restart": server.Restart} {
		if err := call(); !errors.Is(err, servers.ErrStopped) {
			t.Errorf("%s after Stop: %v, want ErrStopped", name, err)
		}
	}
}

func wantExternal(t *testing.T, server stoppable) {
	t.Helper()
	for name, call := range map[string]func() error{"Kill": server.Kill, "Restart": server.Restart, "Stop": server.Stop} {
		if err := call(); !errors.Is(err, servers.ErrExternal) {
			t.Errorf("%s of an external server: %v, want ErrExternal", name, err)
		}
	}
	wantServing(t, server.Addr())
}

// inOwnFolder has the test's servers put their folders into one that the test can look into.
func inOwnFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "airlock-test-")
	must(t, err)
	must(t, os.Chmod(dir, 0o755)) // another user's server must get through
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	t.Setenv("TMPDIR", dir)
	return dir
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, entry := range entries {
		t.Errorf("%s is left behind", entry.Name())
	}
}
