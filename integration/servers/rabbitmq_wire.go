package servers

import (
	"cmp"
	"context"
	"errors"
	"net"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A Wire is a way to a RabbitMQ server that can be cut for good. Executors and workers dial with it.
type Wire struct {
	Addr string

	// Heartbeat is the interval of heartbeats, 2 seconds if it is 0: a lost connection is noticed soon, and one to a busy machine
	// may be taken for lost.
	Heartbeat time.Duration

	mu    sync.Mutex
	ended bool       // guarded by mu
	conns []net.Conn // guarded by mu
}

// WireTo returns a wire to the server at an address.
func WireTo(addr string) *Wire { return &Wire{Addr: addr} }

// Dial makes a connection. After Cut it is an error.
func (w *Wire) Dial(ctx context.Context) (*amqp.Connection, error) {
	return amqp.DialConfig("amqp://guest:guest@"+w.Addr+"/", amqp.Config{
		Heartbeat: cmp.Or(w.Heartbeat, 2*time.Second),
		Dial: func(network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.ended {
				return nil, errors.Join(errors.New("servers: the wire is cut"), conn.Close())
			}
			w.conns = append(w.conns, conn)
			return conn, conn.SetDeadline(time.Now().Add(10 * time.Second)) // for the handshake; the library ends it
		},
	})
}

// Drop closes the connections. New ones can be made.
func (w *Wire) Drop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, conn := range w.conns {
		_ = conn.Close()
	}
	w.conns = nil
}

// Cut closes the connections, and there are no new ones.
func (w *Wire) Cut() {
	w.mu.Lock()
	w.ended = true
	w.mu.Unlock()
	w.Drop()
}

// Channel returns a channel of a new connection, which ends with the returned function.
func (w *Wire) Channel() (*amqp.Channel, func(), error) {
	conn, err := w.Dial(context.Background())
	if err != nil {
		return nil, nil, err
	}
	ch, err := conn.Channel()
	if err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	return ch, func() { _ = conn.Close() }, nil
}

// Put publishes a persistent message to a queue, on a new connection, and waits for its confirm.
func (w *Wire) Put(ctx context.Context, queue string, p amqp.Publishing) error {
	ch, end, err := w.Channel()
	if err != nil {
		return err
	}
	defer end()
	if err := ch.Confirm(false); err != nil {
		return err
	}
	p.DeliveryMode = amqp.Persistent
	confirm, err := ch.PublishWithDeferredConfirm("", queue, true, false, p)
	if err != nil {
		return err
	}
	if ok, err := confirm.WaitContext(ctx); err != nil || !ok {
		return errors.Join(err, errors.New("not confirmed"))
	}
	return nil
}
