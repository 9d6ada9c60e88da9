package servers_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/goairlock/airlock/integration/servers"
)

// fatalT is a test that is expected to fail.
type fatalT struct {
	testing.TB
	message string
}

func (t *fatalT) Helper() {}

func (t *fatalT) Fatalf(format string, args ...any) {
	t.message = fmt.Sprintf(format, args...)
	panic(t)
}

func TestMissingProgramIsFatalAndSaysWhatToType(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("AIRLOCK_REDIS_URL", "")
	ft := &fatalT{TB: t}
	func() {
		defer func() {
			if recover() != ft {
				t.Error("redis-server is missing, yet the test goes on")
			}
		}()
		servers.Redis(ft, servers.RedisOptions{})
	}()
	for _, want := range []string{"redis-server is missing", "apt-get install -y redis-server postgresql", "make test-embedded"} {
		if !strings.Contains(ft.message, want) {
			t.Errorf("the message does not say %q:\n%s", want, ft.message)
		}
	}
}
