package faults_test

import (
	"context"
	"crypto/rand"
	"net/url"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/integration/servers"
)

func TestFaultsOnNATS(t *testing.T) {
	t.Parallel()
	server := servers.NATS(t, servers.NATSOptions{})
	prove(t, server.Addr(), func(ctx context.Context, t *testing.T, proxyAddr string) victim {
		v := &natsVictim{name: "faults-" + rand.Text(), url: through(t, server.URL(), proxyAddr)}
		t.Cleanup(v.stop)
		direct, err := nats.Connect(server.URL())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(direct.Close)
		js, err := jetstream.New(direct)
		if err != nil {
			t.Fatal(err)
		}
		v.stream, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: v.name, Subjects: []string{v.name}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = js.DeleteStream(context.Background(), v.name) })
		return v
	})
}

// A natsVictim counts messages.
type natsVictim struct {
	name   string
	url    string
	stream jetstream.Stream
	conn   *nats.Conn // nil before connect
	js     jetstream.JetStream
}

func (v *natsVictim) connect(context.Context) (err error) {
	v.stop()
	v.conn, err = nats.Connect(v.url,
		nats.NoReconnect(), nats.ReconnectBufSize(-1), // else the client hides the fault
		nats.IgnoreDiscoveredServers(), nats.Timeout(patience))
	if err != nil {
		return err
	}
	v.js, err = jetstream.New(v.conn)
	return err
}

func (v *natsVictim) do(ctx context.Context) error {
	_, err := v.js.Publish(ctx, v.name, []byte("operation"), jetstream.WithRetryAttempts(0))
	return err
}

func (v *natsVictim) done(ctx context.Context) (int, error) {
	info, err := v.stream.Info(ctx)
	if err != nil {
		return 0, err
	}
	return int(info.State.Msgs), nil
}

func (v *natsVictim) stop() {
	if v.conn != nil {
		v.conn.Close()
	}
}

// through is the URL of a server with the address of the proxy in front of it.
func through(t *testing.T, server, proxyAddr string) string {
	t.Helper()
	location, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	location.Host = proxyAddr
	return location.String()
}
