package poolexec_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/goairlock/airlock/core"
	poolexec "github.com/goairlock/airlock/executors/pool"
)

// patience bounds every wait for something that must happen.
const patience = 20 * time.Second

// newPool makes a pool that logs nothing, unless the test gives a logger.
func newPool(t *testing.T, opts *poolexec.Options) *poolexec.Executor {
	t.Helper()
	var o poolexec.Options
	if opts != nil {
		o = *opts
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	pool, err := poolexec.New(&o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // what a test leaves in the pool does not matter
		pool.Stop(ctx)
	})
	return pool
}

func newIntent[A any](t *testing.T, task core.Task[A], args A, opts ...core.Option) core.Intent {
	t.Helper()
	in, err := task.Intent(args, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func mustExecute(t *testing.T, pool *poolexec.Executor, intents ...core.Intent) {
	t.Helper()
	if err := pool.Execute(context.Background(), intents...); err != nil {
		t.Fatal(err)
	}
}

func mustStop(t *testing.T, pool *poolexec.Executor) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := pool.Stop(ctx); err != nil {
		t.Fatal(err)
	}
}

func receive[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func states(err error, intents ...core.Intent) string {
	text := ""
	for _, o := range core.OutcomesOf(err, intents) {
		text += fmt.Sprintf("%v;", o.State)
	}
	return text
}

// ledger lists what ran.
type ledger struct {
	mu   sync.Mutex
	runs []string
}

func (l *ledger) add(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.runs = append(l.runs, what)
}

func (l *ledger) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprint(l.runs)
}

func (l *ledger) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.runs)
}

// gate is a task whose handlers wait until open is closed or has a value.
type gate struct {
	core.Task[string]
	entered chan string
	open    chan struct{}
}

func newGate() *gate {
	g := &gate{entered: make(chan string, 1000), open: make(chan struct{})}
	g.Task = core.NewTask("test.gate", func(ctx context.Context, name string) error {
		g.entered <- name
		select {
		case <-g.open:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	return g
}

var errTest = errors.New("test failure")
