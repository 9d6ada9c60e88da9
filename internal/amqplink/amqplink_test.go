package amqplink

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/core"
)

const testName = Name("test: rabbitmq")

var (
	errNoDial  = errors.New("no way to RabbitMQ")
	errNoQueue = errors.New("no queue")
)

func testPublisher(t *testing.T, dial func(context.Context) (*amqp.Connection, error)) *Publisher {
	t.Helper()
	p := NewPublisher(New(dial, testName, nil), PublisherOptions{
		Channels: 1, Limit: time.Minute,
		Mark:    func(_ amqp.Table, correlationID string) string { return correlationID },
		NoQueue: func(string) error { return errNoQueue },
	})
	t.Cleanup(p.Close)
	return p
}

func TestBatchesAreBounded(t *testing.T) {
	t.Parallel()
	large := amqp.Publishing{Body: make([]byte, 5<<20)}
	msgs := append(make([]Message, 1500), Message{Pub: large}, Message{Pub: large}, Message{})
	var ends []int
	for from := 0; from < len(msgs); {
		from = batchEnd(msgs, from)
		ends = append(ends, from)
	}
	if want := []int{1000, 1501, 1503}; !slices.Equal(ends, want) {
		t.Errorf("batches end at %v, want %v", ends, want)
	}
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	p := testPublisher(t, nil)
	for name, c := range map[string]struct {
		acked, returned, closed bool
		want                    core.State
		text                    string // in the error
	}{
		"confirmed":           {true, false, false, core.Accepted, ""},
		"sent back":           {true, true, false, core.Rejected, errNoQueue.Error()},
		"lost":                {false, false, true, core.Unknown, "test: rabbitmq: connection or channel lost"},
		"lost, and sent back": {false, true, true, core.Unknown, "test: rabbitmq: connection or channel lost"},
		"a negative confirm":  {false, false, false, core.Unknown, "test: rabbitmq: negative confirm"},
	} {
		got := p.outcomeOf(c.acked, c.returned, c.closed, "q")
		if got.State != c.want || (got.Err == nil) != (c.text == "") || got.Err != nil && !strings.Contains(got.Err.Error(), c.text) {
			t.Errorf("%s: %v with %v, want %v with %q", name, got.State, got.Err, c.want, c.text)
		}
	}
	for err, want := range map[error]core.State{amqp.ErrClosed: core.NotSent, amqp.ErrFieldType: core.Rejected, errNoDial: core.Unknown} {
		if got := testName.outcomeOfWrite(err); got.State != want || !errors.Is(got.Err, err) {
			t.Errorf("%v: %v with %v, want %v", err, got.State, got.Err, want)
		}
	}
}

func TestErrorsHaveNoPassword(t *testing.T) {
	t.Parallel()
	err := testName.Unavailable(errors.New(`dial "amqp://shop:s3cret@localhost/" failed`))
	if text := err.Error(); strings.Contains(text, "s3cret") || !strings.HasPrefix(text, "test: rabbitmq: ") || !errors.Is(err, core.ErrUnavailable) {
		t.Errorf("error %q", text)
	}
}

func TestBadDialFunctions(t *testing.T) {
	t.Parallel()
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx  context.Context
		dial func(context.Context) (*amqp.Connection, error)
		want error
	}{
		"an error":             {t.Context(), func(context.Context) (*amqp.Connection, error) { return nil, errNoDial }, errNoDial},
		"no connection":        {t.Context(), func(context.Context) (*amqp.Connection, error) { return nil, nil }, core.ErrInvalid},
		"a panic":              {t.Context(), func(context.Context) (*amqp.Connection, error) { panic(errNoDial) }, core.ErrUnavailable},
		"one that never ends":  {stopped, func(ctx context.Context) (*amqp.Connection, error) { <-ctx.Done(); return nil, ctx.Err() }, context.Canceled},
		"an end of the caller": {stopped, func(context.Context) (*amqp.Connection, error) { return nil, errNoDial }, context.Canceled},
	} {
		p := testPublisher(t, c.dial)
		results := p.Publish(c.ctx, make([]Message, 2))
		for _, r := range results {
			if r.State != core.NotSent || !errors.Is(r.Err, c.want) {
				t.Errorf("%s: %v with %v, want NotSent with %v", name, r.State, r.Err, c.want)
			}
		}
		p.Close()
		if err := p.Ask(t.Context(), func(*amqp.Connection) error { return nil }); len(results) != 2 || !errors.Is(err, core.ErrClosed) || !errors.Is(err, core.ErrNotSent) {
			t.Errorf("%s: %d results, and after Close %v, want ErrClosed", name, len(results), err)
		}
	}
}

// Calls that come while a dial is under way share it.
func TestDialsAreShared(t *testing.T) {
	t.Parallel()
	began, release := make(chan struct{}), make(chan struct{})
	var dials atomic.Int32
	l := New(func(context.Context) (*amqp.Connection, error) {
		if dials.Add(1) == 1 {
			close(began)
		}
		<-release
		return nil, errNoDial
	}, testName, nil)
	defer l.Close()
	errs := make(chan error)
	get := func() { _, err := l.Get(t.Context()); errs <- err }
	go get()
	<-began
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Get(stopped); !errors.Is(err, context.Canceled) {
		t.Errorf("Get with an ended context: %v", err)
	}
	close(release)
	if err := <-errs; !errors.Is(err, errNoDial) || dials.Load() != 1 {
		t.Errorf("%v after %d dials, want one", err, dials.Load())
	}
}

// A server that is away is one line in the log, whatever is tried.
func TestOutageIsLoggedOnce(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	ctx, cancel := context.WithCancel(t.Context())
	var dials atomic.Int32
	l := New(func(context.Context) (*amqp.Connection, error) {
		if dials.Add(1) == 3 {
			cancel()
		}
		return nil, errNoDial
	}, testName, slog.New(slog.NewTextHandler(&log, nil)), slog.String("who", "worker"))
	l.Consume(ctx, Consumer{Queue: "q", Name: "q"})
	l.Close()
	got := log.String()
	if strings.Count(got, "\n") != 1 || !strings.Contains(got, `msg="airlock: backend lost, trying again" executor=test who=worker error=`) || !strings.Contains(got, errNoDial.Error()) {
		t.Errorf("logged %q after %d dials", got, dials.Load())
	}
}
