package nats_test

import (
	"net"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// embedded starts a server in this process with settings that package servers does not have.
func embedded(t *testing.T, change func(*server.Options)) *server.Server {
	t.Helper()
	opts := &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true}
	change(opts)
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the server is not ready after a minute")
	}
	return s
}

// limited is a server whose user "app" has the permissions, and whose user "admin" has all.
func limited(t *testing.T, app *server.Permissions) (admin, asApp string) {
	t.Helper()
	s := embedded(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "admin", Password: "secret"}, {Username: "app", Password: "secret", Permissions: app}}
	})
	return as(t, s, "admin"), as(t, s, "app")
}

func as(t *testing.T, s *server.Server, user string) string {
	t.Helper()
	u, err := url.Parse(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(user, "secret")
	return u.String()
}

// hubAndLeaf are two servers with a JetStream of their own each, of which the leaf passes on to the hub.
func hubAndLeaf(t *testing.T) (hub, leaf *server.Server) {
	t.Helper()
	var hubOpts *server.Options
	hub = embedded(t, func(o *server.Options) {
		hubOpts = o
		o.JetStreamDomain, o.ServerName = "hub", "hub"
		o.LeafNode.Host, o.LeafNode.Port = "127.0.0.1", server.RANDOM_PORT
	})
	remote := &url.URL{Scheme: "nats-leaf", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(hubOpts.LeafNode.Port))} // set when it listens
	leaf = embedded(t, func(o *server.Options) {
		o.JetStreamDomain, o.ServerName = "leaf", "leaf"
		o.LeafNode.Remotes = []*server.RemoteLeafOpts{{URLs: []*url.URL{remote}}}
		o.LeafNode.ReconnectInterval = 50 * time.Millisecond
	})
	for hub.NumLeafNodes() == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	return hub, leaf
}
