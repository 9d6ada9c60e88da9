package servers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// rabbitScript is where Debian and Ubuntu keep the script that starts the server as the user who calls it. The program of that
// name on PATH changes the user and uses the system's folders.
const rabbitScript = "/usr/lib/rabbitmq/bin"

// RabbitMQOptions tune [RabbitMQ].
type RabbitMQOptions struct {
	// Settings are lines of rabbitmq.conf, such as "vm_memory_high_watermark.absolute = 1MB".
	Settings []string
}

// A RabbitMQServer is a running rabbitmq-server.
type RabbitMQServer struct {
	*instance
	addr string
	node *rabbitNode
}

// RabbitMQ starts a rabbitmq-server with a node name, folders and an epmd of its own. Its user is guest, with the password guest.
// It keeps durable queues when it is killed or restarted. A start takes five to ten seconds: start one for many tests.
func RabbitMQ(tb testing.TB, opts RabbitMQOptions) *RabbitMQServer {
	tb.Helper()
	return RabbitMQCluster(tb, 1, opts)[0]
}

// RabbitMQCluster starts that many servers, which are one cluster. A queue that is declared through one of them has its leader
// there.
func RabbitMQCluster(tb testing.TB, size int, opts RabbitMQOptions) []*RabbitMQServer {
	tb.Helper()
	if _, err := exec.LookPath(filepath.Join(rabbitScript, "rabbitmq-server")); err != nil {
		tb.Fatalf("servers: rabbitmq-server is missing. Type:\n    apt-get install -y rabbitmq-server")
	}
	epmd := program(tb, "epmd")
	var nodes []*rabbitNode
	for i := range size {
		n := &rabbitNode{instance: prepare(tb, "rabbitmq", 3)}
		n.addr, n.dist = n.ports[0].Addr(), strconv.Itoa(n.ports[1].Number())
		nodes = append(nodes, n)
		if i == 0 {
			registry := strconv.Itoa(n.ports[2].Number())
			env := []string{"PATH=" + os.Getenv("PATH"), "ERL_EPMD_PORT=" + registry, "ERL_EPMD_ADDRESS=127.0.0.1"}
			tb.Cleanup(startProgram(tb, n.dir, env, epmd, "-address", "127.0.0.1", "-port", registry)) // the first one's folder goes last
		}
		n.registry = strconv.Itoa(nodes[0].ports[2].Number())
	}
	settings := slices.Clone(opts.Settings)
	if size > 1 {
		settings = append(settings, "cluster_formation.peer_discovery_backend = classic_config")
		for i, n := range nodes {
			settings = append(settings, fmt.Sprintf("cluster_formation.classic_config.nodes.%d = %s", i+1, n.name()))
		}
	}
	var all []*RabbitMQServer
	for _, n := range nodes {
		n.start(tb, settings)
		all = append(all, &RabbitMQServer{instance: n.instance, addr: n.addr, node: n})
	}
	return all
}

// rabbitNode is a server that is to be started.
type rabbitNode struct {
	*instance
	addr, dist, registry string
}

func (n *rabbitNode) name() string   { return "airlock" + n.dist + "@localhost" }
func (n *rabbitNode) cookie() string { return "airlock" + n.registry } // of all nodes of a cluster

func (n *rabbitNode) start(tb testing.TB, settings []string) {
	tb.Helper()
	config := filepath.Join(n.dir, "rabbitmq.conf")
	text := "listeners.tcp.1 = " + n.addr + "\nlog.console = true\nlog.console.level = warning\nlog.file = false\n" +
		strings.Join(append(settings, ""), "\n")
	for name, text := range map[string]string{config: text, filepath.Join(n.dir, "plugins"): "[].\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			tb.Fatalf("servers: %v", err)
		}
	}
	n.run(tb, &process{
		command: func() *exec.Cmd {
			cmd := exec.Command(filepath.Join(rabbitScript, "rabbitmq-server"))
			cmd.Dir = n.dir
			cmd.Env = []string{
				"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "HOME=" + n.dir,
				"ERL_EPMD_PORT=" + n.registry, "ERL_EPMD_ADDRESS=127.0.0.1",
				"RABBITMQ_NODENAME=" + n.name(), "RABBITMQ_DIST_PORT=" + n.dist,
				"RABBITMQ_BASE=" + n.dir, "RABBITMQ_MNESIA_BASE=" + filepath.Join(n.dir, "data"), "RABBITMQ_LOG_BASE=" + n.dir,
				"RABBITMQ_CONFIG_FILE=" + config, "RABBITMQ_ENABLED_PLUGINS_FILE=" + filepath.Join(n.dir, "plugins"),
				"RABBITMQ_CONF_ENV_FILE=" + filepath.Join(n.dir, "none"), "RABBITMQ_LOGS=-",
				// The script then becomes the server, instead of its parent.
				"RABBITMQ_ALLOW_INPUT=1",
				// A consumer_timeout is looked for every second instead of every minute. What a delay queue could not hand over, as the
				// next queue was still starting, it tries again after two seconds instead of three minutes. The nodes of a cluster
				// have one cookie.
				"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-noinput -setcookie " + n.cookie() + " -rabbit channel_tick_interval 1000" +
					" -rabbit dead_letter_worker_publisher_confirm_timeout 2000",
			}
			return cmd
		},
		ready: func(context.Context) error { return pingRabbitMQ(n.addr) },
		quit:  terminate,
	})
}

// Addr is the server's host and port.
func (s *RabbitMQServer) Addr() string { return s.addr }

// URL is the server's address as amqp.Dial takes it.
func (s *RabbitMQServer) URL() string { return "amqp://guest:guest@" + s.addr + "/" }

// Names returns the names of the server's queues or exchanges. AMQP has no way to list them.
func (s *RabbitMQServer) Names(tb testing.TB, what string) []string {
	tb.Helper()
	return strings.Split(s.control(tb, "list_"+what, "name"), "\n")
}

// Memory returns how many bytes of memory the server uses.
func (s *RabbitMQServer) Memory(tb testing.TB) int64 {
	tb.Helper()
	n, err := strconv.ParseInt(s.control(tb, "eval", "[erlang:garbage_collect(P) || P <- processes()], erlang:memory(total)."), 10, 64)
	if err != nil {
		tb.Fatalf("servers: rabbitmqctl: %v", err)
	}
	return n
}

// Stored returns how many bytes the server has on disk.
func (s *RabbitMQServer) Stored(tb testing.TB) int64 {
	tb.Helper()
	var size int64
	err := filepath.WalkDir(filepath.Join(s.node.dir, "data"), func(_ string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // the server has removed it meanwhile
			return nil
		}
		if err != nil || entry.IsDir() {
			return err
		}
		if info, err := entry.Info(); err == nil {
			size += info.Size()
		}
		return nil
	})
	if err != nil {
		tb.Fatalf("servers: %v", err)
	}
	return size
}

// control runs a command of rabbitmqctl.
func (s *RabbitMQServer) control(tb testing.TB, args ...string) string {
	tb.Helper()
	cmd := exec.Command(filepath.Join(rabbitScript, "rabbitmqctl"), append([]string{"--silent", "--node", s.node.name(), "--erlang-cookie", s.node.cookie()}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "HOME=" + s.node.dir, "ERL_EPMD_PORT=" + s.node.registry}
	var errOut strings.Builder
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		tb.Fatalf("servers: rabbitmqctl: %v: %s%s", err, out, &errOut)
	}
	return strings.TrimSpace(string(out))
}

// startProgram starts a program that runs until the returned function is called.
func startProgram(tb testing.TB, dir string, env []string, path string, args ...string) (stop func()) {
	tb.Helper()
	p := &process{
		command: func() *exec.Cmd {
			cmd := exec.Command(path, args...)
			cmd.Dir, cmd.Env = dir, env
			return cmd
		},
		ready: func(context.Context) error { return nil },
	}
	if err := p.start(context.Background()); err != nil {
		tb.Fatalf("servers: %s: %v", path, err)
	}
	return func() {
		if err := p.kill(); err != nil {
			tb.Errorf("servers: %s: %v", path, err)
		}
	}
}

func pingRabbitMQ(addr string) error {
	conn, err := amqp.DialConfig("amqp://guest:guest@"+addr+"/", amqp.Config{
		Dial: func(network, addr string) (net.Conn, error) {
			c, err := net.DialTimeout(network, addr, time.Second)
			if err != nil {
				return nil, err
			}
			return c, c.SetDeadline(time.Now().Add(5 * time.Second))
		},
	})
	if err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	return conn.Close()
}
