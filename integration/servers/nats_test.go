package servers_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/integration/servers"
)

func TestNATSKeepsWhatItAcknowledged(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]servers.NATSOptions{
		"in the test's process": {Private: true},
		"in its own process":    {OwnProcess: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := servers.NATS(t, opts)
			ctx, js := connectJetStream(t, server.URL())
			_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}})
			must(t, err)
			for n := range 50 {
				_, err := js.Publish(ctx, "s", fmt.Append(nil, n))
				must(t, err)
			}
			must(t, server.Kill())
			wantRefused(t, server.Addr())
			must(t, server.Restart())

			ctx, js = connectJetStream(t, server.URL())
			wantMessages(ctx, t, js, "S", 50)
		})
	}
}

func TestNATSLifeCycle(t *testing.T) {
	dir := inOwnFolder(t)
	wantLifeCycle(t, servers.NATS(t, servers.NATSOptions{Private: true}))
	wantLifeCycle(t, servers.NATS(t, servers.NATSOptions{OwnProcess: true}))
	wantEmpty(t, dir)
}

func TestNATSFromTheEnvironment(t *testing.T) {
	private := servers.NATS(t, servers.NATSOptions{Private: true})
	t.Setenv("AIRLOCK_NATS_URL", private.URL())
	external := servers.NATS(t, servers.NATSOptions{})
	if external.URL() != private.URL() || external.Addr() != private.Addr() {
		t.Errorf("got %s at %s, want %s at %s", external.URL(), external.Addr(), private.URL(), private.Addr())
	}
	wantExternal(t, external)
	if another := servers.NATS(t, servers.NATSOptions{Private: true}); another.URL() == private.URL() {
		t.Error("a private server is the one from the environment")
	}
}

func TestNATSCreatesStreamsWhileOthersAreDeleted(t *testing.T) {
	t.Parallel()
	server := servers.NATS(t, servers.NATSOptions{Private: true})
	var users sync.WaitGroup
	for user := range 4 {
		ctx, js := connectJetStream(t, server.URL())
		users.Go(func() {
			name := fmt.Sprint("S", user)
			for range 50 {
				if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{name}}); err != nil {
					t.Errorf("create: %v", err)
					return
				}
				if err := js.DeleteStream(ctx, name); err != nil {
					t.Errorf("delete: %v", err)
					return
				}
			}
		})
	}
	users.Wait()
}

func TestNATSClusterSurvivesItsLeader(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]servers.NATSOptions{
		"in the test's process":  {},
		"in processes of theirs": {OwnProcess: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nodes := servers.NATSCluster(t, opts)
			ctx, js := connectJetStream(t, nodes.URL())
			stream, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, Replicas: 3})
			must(t, err)
			publish := func(from, to int) {
				t.Helper()
				for n := from; n < to; n++ {
					publishUntilAcknowledged(ctx, t, js, n)
				}
			}
			publish(0, 50)

			info, err := stream.Info(ctx)
			must(t, err)
			leader := nodes.Named(info.Cluster.Leader)
			if leader == nil {
				t.Fatalf("no node is named %q, as the leader is", info.Cluster.Leader)
			}
			must(t, leader.Kill())
			wantRefused(t, leader.Addr())
			publish(50, 100)
			wantMessages(ctx, t, js, "S", 100)

			must(t, leader.Restart())
			_, back := connectJetStream(t, leader.URL())
			wantMessages(ctx, t, back, "S", 100)
		})
	}
}

// publishUntilAcknowledged sends message n again while there is no leader; its ID keeps it from being stored twice.
func publishUntilAcknowledged(ctx context.Context, t *testing.T, js jetstream.JetStream, n int) {
	t.Helper()
	for {
		once, cancel := context.WithTimeout(ctx, time.Second)
		_, err := js.Publish(once, "s", nil, jetstream.WithMsgID(fmt.Sprint(n)))
		cancel()
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("message %d: %v", n, err)
		}
	}
}

// wantMessages asks until the stream answers: after the loss of a leader it takes a while to.
func wantMessages(ctx context.Context, t *testing.T, js jetstream.JetStream, stream string, want uint64) {
	t.Helper()
	for {
		once, cancel := context.WithTimeout(ctx, time.Second)
		got, err := messages(once, js, stream)
		cancel()
		if err == nil && got == want {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("stream %s holds %d messages, want %d: %v", stream, got, want, err)
		}
	}
}

func messages(ctx context.Context, js jetstream.JetStream, name string) (uint64, error) {
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return 0, err
	}
	info, err := stream.Info(ctx)
	if err != nil {
		return 0, err
	}
	return info.State.Msgs, nil
}

// connectJetStream returns a context that bounds the test's work and a client that reconnects quickly.
func connectJetStream(t *testing.T, url string) (context.Context, jetstream.JetStream) {
	t.Helper()
	conn, err := nats.Connect(url, nats.ReconnectWait(10*time.Millisecond), nats.MaxReconnects(-1))
	must(t, err)
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx, js
}
