package servers

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// NATSOptions tune [NATS] and [NATSCluster]. The zero value runs the servers in the test's process.
type NATSOptions struct {
	// OwnProcess runs each server in a process of its own, which is the test binary once more: Kill is kill -9 then, and the
	// server's goroutines are not the test's. It implies Private.
	//
	// Without it, Kill is an immediate shutdown, which still writes what the server had in hand and, in a cluster, hands leadership
	// over within a second or two. After kill -9 the others wait for the election timeout of 4 to 9 seconds (nats-server v2.15.2,
	// server/raft.go, minElectionTimeoutDefault and maxElectionTimeoutDefault).
	OwnProcess bool
	// Version is a release of nats-server, such as v2.10.29, that is to run in place of the one in go.mod. The go command builds
	// it on first use. It implies OwnProcess, and is not for clusters.
	Version string
	// Private ignores AIRLOCK_NATS_URL, for tests that kill the server or need an empty one.
	Private bool
}

// A NATSServer is a running nats-server with JetStream. It never announces other addresses to its
// clients, so that they cannot bypass a proxy in front of it.
type NATSServer struct {
	*instance
	addr, url, serverName string
}

// NATSNodes are the servers of a cluster.
type NATSNodes []*NATSServer

// NATS starts a nats-server with JetStream and file storage, or takes that of AIRLOCK_NATS_URL (nats://[user:password@]host:port,
// with JetStream).
func NATS(tb testing.TB, opts NATSOptions) *NATSServer {
	tb.Helper()
	if external := os.Getenv("AIRLOCK_NATS_URL"); external != "" && !opts.Private && !opts.OwnProcess && opts.Version == "" {
		parsed, err := url.Parse(external)
		if err != nil || parsed.Host == "" {
			tb.Fatalf("servers: AIRLOCK_NATS_URL is not a nats:// URL: %v", err)
		}
		return &NATSServer{instance: &instance{name: "nats"}, addr: parsed.Host, url: external}
	}
	i := prepare(tb, "nats", 1)
	return startNATS(tb, opts, i, natsSpec{Name: "single", Port: i.ports[0].Number(), Store: filepath.Join(i.dir, "store")})
}

const clusterSize = 3

// NATSCluster starts three servers whose JetStream keeps up to three replicas, and returns when it can place a stream on all
// of them, which takes a second or two, and up to ten where the first election fails. It is never taken from the environment.
func NATSCluster(tb testing.TB, opts NATSOptions) NATSNodes {
	tb.Helper()
	var instances [clusterSize]*instance
	var routes []string
	for n := range instances {
		instances[n] = prepare(tb, "nats", 2)
		routes = append(routes, "nats://"+instances[n].ports[1].Addr())
	}
	var nodes NATSNodes
	for n, i := range instances {
		nodes = append(nodes, startNATS(tb, opts, i, natsSpec{
			Name: fmt.Sprintf("node-%d", n), Port: i.ports[0].Number(), Store: filepath.Join(i.dir, "store"),
			Cluster: "airlock", ClusterPort: i.ports[1].Number(), Routes: routes,
		}))
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, node := range nodes {
		if err := pollWithin(ctx, nil, placeLimit, node.placeStream); err != nil {
			tb.Fatalf("servers: join the nodes of a nats cluster: %v", err)
		}
	}
	return nodes
}

// Addr is the server's host and port.
func (s *NATSServer) Addr() string { return s.addr }

// URL is the server's address as nats.Connect takes it.
func (s *NATSServer) URL() string { return s.url }

// URL is the addresses of all servers, as nats.Connect takes them.
func (nodes NATSNodes) URL() string {
	urls := make([]string, len(nodes))
	for n, node := range nodes {
		urls[n] = node.URL()
	}
	return strings.Join(urls, ",")
}

// Named returns the server of that name, as a stream's ClusterInfo names its leader and replicas, or nil.
func (nodes NATSNodes) Named(name string) *NATSServer {
	for _, node := range nodes {
		if node.serverName == name {
			return node
		}
	}
	return nil
}

// A natsSpec says what a server is, in this process or another.
type natsSpec struct {
	Name        string
	Port        int
	Store       string
	Cluster     string // empty: none
	ClusterPort int
	Routes      []string
}

func (spec natsSpec) options() *server.Options {
	opts := &server.Options{
		ServerName: spec.Name, Host: "127.0.0.1", Port: spec.Port,
		JetStream: true, StoreDir: spec.Store,
		NoLog: true, NoSigs: true,
		// Else the server pings a new client after two seconds or so, amidst the bytes that a test counts.
		DisableShortFirstPing: true,
	}
	if spec.Cluster != "" {
		opts.Cluster = server.ClusterOpts{Name: spec.Cluster, Host: "127.0.0.1", Port: spec.ClusterPort, NoAdvertise: true}
		opts.Routes = server.RoutesFromStr(strings.Join(spec.Routes, ","))
	}
	return opts
}

// keepFolder puts a file next to the streams. When the last stream is deleted, nats-server removes the folder of all streams a
// moment later, in passing, and a stream created just then fails with code 10049 (nats-server v2.15.2, server/stream.go,
// stream.stop); a folder that is not empty stays. The file must not begin with a dot, which marks a stream half
// deleted.
func (spec natsSpec) keepFolder() error {
	streams := filepath.Join(spec.Store, server.JetStreamStoreDir, server.DEFAULT_GLOBAL_ACCOUNT, "streams")
	if err := os.MkdirAll(streams, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(streams, "keep"), nil, 0o600)
}

func startNATS(tb testing.TB, opts NATSOptions, i *instance, spec natsSpec) *NATSServer {
	tb.Helper()
	if err := spec.keepFolder(); err != nil {
		tb.Fatalf("servers: %v", err)
	}
	addr := i.ports[0].Addr()
	location := "nats://" + addr
	ready := func(ctx context.Context) error { return pingNATS(ctx, location, spec.Cluster != "") }
	if opts.Version != "" {
		i.run(tb, natsVersionProcess(natsProgram(tb, opts.Version), spec, ready))
	} else if opts.OwnProcess {
		process, err := natsProcess(spec, ready)
		if err != nil {
			tb.Fatalf("servers: %v", err)
		}
		i.run(tb, process)
	} else {
		i.run(tb, &embeddedNATS{spec: spec, ready: ready})
	}
	return &NATSServer{instance: i, addr: addr, url: location, serverName: spec.Name}
}

// embeddedNATS is the engine of a server in this process.
type embeddedNATS struct {
	spec   natsSpec
	ready  func(context.Context) error
	server *server.Server
}

func (e *embeddedNATS) output() string { return "" }

func (e *embeddedNATS) start(ctx context.Context) error {
	var err error
	if e.server, err = server.NewServer(e.spec.options()); err != nil {
		return err
	}
	e.server.Start()
	return poll(ctx, nil, e.ready)
}

func (e *embeddedNATS) kill() error { return e.stop() }

func (e *embeddedNATS) stop() error {
	if e.server != nil {
		e.server.Shutdown()
		e.server.WaitForShutdown()
	}
	return nil
}

// pingNATS asks for JetStream too, but not of a member of a cluster, which may be the first to start.
func pingNATS(ctx context.Context, location string, member bool) error {
	return withJetStream(location, func(js jetstream.JetStream) error {
		if member {
			return nil
		}
		_, err := js.AccountInfo(ctx)
		return err
	})
}

// placeLimit is for one try to place a stream. That is an election of its own, and slow where three servers share a busy machine.
const placeLimit = 5 * time.Second

// placeStream fails until the node knows of a leader that can place a stream on all nodes.
func (s *NATSServer) placeStream(ctx context.Context) error {
	return withJetStream(s.URL(), func(js jetstream.JetStream) error {
		const name = "airlock-ready"
		_, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
			Name: name, Subjects: []string{name}, Replicas: clusterSize, Storage: jetstream.MemoryStorage,
		})
		return errors.Join(err, ignoreMissing(js.DeleteStream(ctx, name)))
	})
}

func ignoreMissing(err error) error {
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	return err
}

func withJetStream(location string, use func(jetstream.JetStream) error) error {
	conn, err := nats.Connect(location, nats.NoReconnect())
	if err != nil {
		return err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	return use(js)
}
