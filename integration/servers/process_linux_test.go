package servers_test

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/goairlock/airlock/integration/servers"
)

// mortals start the servers that must die with the test's process, and return their address.
var mortals = map[string]func(*testing.T) string{
	"nats": func(t *testing.T) string { return servers.NATS(t, servers.NATSOptions{OwnProcess: true}).Addr() },
}

// mortalVariable names the server that a process starts which is then killed.
const mortalVariable = "AIRLOCK_TEST_MORTAL"

func TestServersDieWithTheTestsProcess(t *testing.T) {
	if name := os.Getenv(mortalVariable); name != "" {
		_, _ = os.Stdout.WriteString(mortals[name](t) + "\n")
		_, _ = os.Stdin.Read(make([]byte, 1)) // until killed
		return
	}
	t.Parallel()
	for name := range mortals {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantDeathWithParent(t, name)
		})
	}
}

func wantDeathWithParent(t *testing.T, name string) {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	dir, err := os.MkdirTemp("", "airlock-test-")
	must(t, err)
	must(t, os.Chmod(dir, 0o755)) // another user's server must get through
	t.Cleanup(func() { _ = os.RemoveAll(dir) })

	parent := exec.Command(self, "-test.run=^TestServersDieWithTheTestsProcess$")
	parent.Env = append(os.Environ(), mortalVariable+"="+name, "TMPDIR="+dir)
	parent.Stderr = os.Stderr
	_, err = parent.StdinPipe()
	must(t, err)
	stdout, err := parent.StdoutPipe()
	must(t, err)
	must(t, parent.Start())
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() {
		t.Fatalf("no server was started: %v", lines.Err())
	}
	addr := lines.Text()
	wantServing(t, addr)

	must(t, parent.Process.Kill())
	_ = parent.Wait() // tells that it was killed
	// The kernel takes the server's sockets down in an order of its own, so one refusal is the only sign there is.
	deadline := time.Now().Add(patience)
	for err == nil && time.Now().Before(deadline) {
		var conn net.Conn
		if conn, err = net.Dial("tcp", addr); err == nil {
			_ = conn.Close()
		}
	}
	if err == nil {
		t.Fatal("the server outlives the test's process")
	}
}
