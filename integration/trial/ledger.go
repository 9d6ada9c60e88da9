package trial

import (
	"context"
	"sync"
	"time"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/conformance/faultproxy"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

const (
	// Flushed is how many intents a ledger's flush has.
	Flushed = 10_000
	killsIn = 3 // kills of the server during a flush
)

var flushed = core.DeclareTask[int]("test.flushed", core.Backoff(core.Fixed(time.Millisecond)))

// A Ledger keeps account of one flush during which the server is killed, and of the runs of its jobs.
type Ledger struct {
	kills, retries int
	expected       map[string]bool // IDs

	mu   sync.Mutex
	runs map[string]int // guarded by mu; by ID
}

// NewLedger returns an empty ledger.
func NewLedger() *Ledger {
	return &Ledger{expected: map[string]bool{}, runs: map[string]int{}}
}

// Registry has the handler of the ledger's jobs.
func (l *Ledger) Registry(t *Trial) *worker.Registry {
	t.Helper()
	reg, err := worker.NewRegistry(worker.Handle(flushed, func(ctx context.Context, _ int) error {
		job, _ := worker.JobFrom(ctx)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.runs[job.ID]++
		return nil
	}))
	t.Must(err)
	return reg
}

// Ran is how many of the jobs have run.
func (l *Ledger) Ran() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.runs)
}

// Killable is a server of package servers.
type Killable interface {
	Kill() error
	Restart() error
}

// Flush dispatches under WithRetry, and three times kills the server in the middle of what is still to be sent. The proxy,
// through which the executor sends, knows how far it has come.
func (l *Ledger) Flush(t *Trial, server Killable, proxy *faultproxy.Proxy) {
	t.Helper()
	killed := make(chan error, 1)
	go func() { killed <- l.kill(t.Ctx, server, proxy) }()
	exec := compose.WithRetry(t.Execute, compose.Retry{
		Attempts: 200, Backoff: core.Fixed(50 * time.Millisecond),
		OnRetry: func(context.Context, int, time.Duration, error) { l.retries++ },
	})
	err := airlock.Run(t.Ctx, exec, func(ctx context.Context) error {
		for n := range Flushed {
			in, err := flushed.Intent(n)
			if err != nil {
				return err
			}
			l.expected[in.ID] = true
			if err := airlock.Add(ctx, in); err != nil {
				return err
			}
		}
		return nil
	})
	t.Must(err) // acknowledged, all of it
	t.Must(<-killed)
}

func (l *Ledger) kill(ctx context.Context, server Killable, proxy *faultproxy.Proxy) error {
	for n := range killsIn {
		from := proxy.Stats().RequestBytes
		err := proxy.WaitFor(ctx, func(s faultproxy.Stats) bool { return s.RequestBytes > from+int64(100_000*(n+3)) })
		if err != nil {
			return err
		}
		if err := server.Kill(); err != nil {
			return err
		}
		if err := server.Restart(); err != nil {
			return err
		}
		l.kills++
	}
	return nil
}

// StoredOnce demands that these are the IDs of the flush, each once.
func (l *Ledger) StoredOnce(t *Trial, ids []string) {
	t.Helper()
	seen := map[string]bool{}
	for _, id := range ids {
		if seen[id] || !l.expected[id] {
			t.Errorf("stored twice, or never sent: %s", id)
		}
		seen[id] = true
	}
	if len(seen) != Flushed {
		t.Errorf("%d of %d are stored", len(seen), Flushed)
	}
}

// Balance demands that every job has run, and none twice but where it is explained.
func (l *Ledger) Balance(t *Trial, explained func(id string) bool) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	twice, phantom, unexplained := 0, 0, 0
	for id, n := range l.runs {
		if n > 1 {
			twice++
			if !explained(id) {
				unexplained++
			}
		}
		if !l.expected[id] {
			phantom++
		}
	}
	t.Logf("ledger: %d intents, %d kills, %d calls tried again; %d jobs run, %d lost, %d phantom; %d run twice after a lost acknowledgement, %d otherwise",
		Flushed, l.kills, l.retries, len(l.runs), Flushed-len(l.runs), phantom, twice-unexplained, unexplained)
	if len(l.runs) != Flushed || phantom > 0 || unexplained > 0 || l.kills != killsIn || l.retries == 0 {
		t.Error("the ledger does not balance")
	}
}
