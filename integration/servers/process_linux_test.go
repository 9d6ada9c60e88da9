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

// orphanVariable has TestServersDieWithTheTestsProcess be the process that is killed.
const orphanVariable = "AIRLOCK_TEST_BE_KILLED"

func TestServersDieWithTheTestsProcess(t *testing.T) {
	if os.Getenv(orphanVariable) != "" {
		server := servers.NATS(t, servers.NATSOptions{OwnProcess: true})
		_, _ = os.Stdout.WriteString(server.Addr() + "\n")
		_, _ = os.Stdin.Read(make([]byte, 1)) // until killed
		return
	}
	t.Parallel()
	self, err := os.Executable()
	must(t, err)
	parent := exec.Command(self, "-test.run=^TestServersDieWithTheTestsProcess$")
	parent.Env = append(os.Environ(), orphanVariable+"=1", "TMPDIR="+t.TempDir())
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
	conn, err := net.Dial("tcp", addr)
	must(t, err)
	defer conn.Close()

	must(t, parent.Process.Kill())
	_ = parent.Wait()
	// The server's end is the end of its connections.
	must(t, conn.SetReadDeadline(time.Now().Add(patience)))
	for err == nil {
		_, err = conn.Read(make([]byte, 4096))
	}
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		t.Fatal("the server outlives the test's process")
	}
	wantRefused(t, addr)
}
