package servers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
)

// One module can require one version of nats-server only, so other versions are programs.
var natsPrograms struct {
	mu    sync.Mutex
	built map[string]string // guarded by mu; paths by version
}

// natsProgram returns the path of a release of nats-server. The go command builds it once for each user, in the user's cache
// folder, and downloads what it needs for that.
func natsProgram(tb testing.TB, version string) string {
	tb.Helper()
	natsPrograms.mu.Lock()
	defer natsPrograms.mu.Unlock()
	if path := natsPrograms.built[version]; path != "" {
		return path
	}
	path, err := buildNATS(tb.Context(), version)
	if err != nil {
		tb.Fatalf("servers: nats-server %s: %v", version, err)
	}
	if natsPrograms.built == nil {
		natsPrograms.built = map[string]string{}
	}
	natsPrograms.built[version] = path
	return path
}

func buildNATS(ctx context.Context, version string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	folder := filepath.Join(cache, "airlock-integration")
	path := filepath.Join(folder, "nats-server-"+version)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	// Another process may build it too: each in a folder of its own, and the last one stays.
	own, err := os.MkdirTemp(folder, "build-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(own)
	cmd := exec.CommandContext(ctx, "go", "install", "github.com/nats-io/nats-server/v2@"+version)
	cmd.Dir = own
	cmd.Env = append(os.Environ(), "GOBIN="+own, "GOWORK=off", "GOFLAGS=")
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v: %w\n%s", cmd.Args, err, output)
	}
	return path, os.Rename(filepath.Join(own, "nats-server"), path)
}

// natsVersionProcess is the engine of a server of another version.
func natsVersionProcess(path string, spec natsSpec, ready func(context.Context) error) *process {
	return &process{
		command: func() *exec.Cmd {
			return exec.Command(path, "--name", spec.Name, "--addr", "127.0.0.1", "--port", strconv.Itoa(spec.Port), "--jetstream", "--store_dir", spec.Store)
		},
		ready: ready,
		quit:  terminate,
	}
}
