package outbox_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
	poolexec "github.com/goairlock/airlock/executors/pool"
	"github.com/goairlock/airlock/outbox"
	"github.com/goairlock/airlock/worker"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"relayed", "held"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			conformance.Run(t, overPool("outbox-"+way, "SQLite (modernc.org/sqlite)", way == "held", func(ct conformance.T) *world {
				return openSQLite(checkTB{t, ct}, "file:"+filepath.Join(t.TempDir(), "shop.db")+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(10000)&_txlock=immediate&_pragma=synchronous(OFF)")
			}))
		})
	}
}

// withoutIdentity refuses unique keys and chosen IDs, see overPool.
func withoutIdentity(exec core.Executor) core.Executor {
	caps, _ := exec.Capabilities()
	caps.Options[core.OptionUnique] = core.Claim{Reason: "this set-up has no unique keys"}
	caps.Options[core.OptionID] = core.Claim{Reason: "this set-up has no chosen IDs"}
	caps.IDWindow = core.Window{}
	return adapter.Guard(caps, exec)
}

// checkTB is a testing.TB whose cleanups run with the check.
type checkTB struct {
	testing.TB
	check conformance.T
}

func (c checkTB) Context() context.Context          { return c.check.Context() }
func (c checkTB) Cleanup(f func())                  { c.check.Cleanup(f) }
func (c checkTB) Logf(format string, args ...any)   { c.check.Logf(format, args...) }
func (c checkTB) Fatalf(format string, args ...any) { c.check.Fatalf(format, args...) }
func (c checkTB) Fatal(args ...any)                 { c.check.Fatalf("%v", args...) }
func (c checkTB) Errorf(format string, args ...any) { c.check.Logf(format, args...) }
func (c checkTB) Helper()                           {}

// overPool is an outbox for a pool. A call stores in a transaction and commits it.
// If it is held, the writer sends after the COMMIT, else a relay does. The pool of the
// held one refuses unique keys and chosen IDs, so that nothing has to be waived there:
// the checks of whole lives and histories, which use them where they can, then decide.
func overPool(name, backend string, held bool, open func(conformance.T) *world) conformance.Harness {
	waived := waivers()
	if held {
		waived = nil
	}
	return conformance.Harness{
		Subject: conformance.Subject{Name: name, Module: "github.com/goairlock/airlock/outbox", Backend: backend},
		Scale:   10, // bounds only what a green run does not use up, but for Settle
		Waivers: waived,
		Settle:  40 * time.Millisecond,
		New: func(ct conformance.T, s conformance.Setup) conformance.System {
			tb := checkTB{nil, ct}
			workers := s.Slots
			if workers == 0 {
				workers = 8
			}
			w := open(ct)
			pool, err := poolexec.New(&poolexec.Options{Registry: s.Registry, Workers: workers, Logger: s.Logger})
			must(tb, err)
			queue := core.Executor(pool.Execute)
			if held {
				queue = withoutIdentity(queue)
			}
			box, err := outbox.New(w.dialect, &outbox.Options{For: queue, DB: outbox.SQL(w.db), Logger: s.Logger})
			must(tb, err)
			must(tb, box.CreateTable(ct.Context(), outbox.SQL(w.db)))
			relay, err := outbox.NewRelay(box, outbox.SQL(w.db), queue, &outbox.RelayOptions{Poll: 10 * time.Millisecond, Logger: s.Logger})
			must(tb, err)
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan struct{})
			go func() {
				defer close(done)
				if err := relay.Run(ctx); err != nil {
					ct.Logf("Run: %v", err)
				}
			}()
			gate := &gate{exec: inTransactions(w, box, held)}
			stop := func(ctx context.Context) error {
				gate.close()
				for ctx.Err() == nil { // what was committed is sent first
					stats, err := box.Stats(ctx, outbox.SQL(w.db))
					if err != nil || stats.Waiting+stats.InFlight == 0 {
						break
					}
					time.Sleep(5 * time.Millisecond)
				}
				cancel()
				<-done
				defer w.db.Close() // its goroutines are not those of the system
				return pool.Stop(ctx)
			}
			ct.Cleanup(func() {
				ended, end := context.WithCancel(context.Background())
				end()
				_ = stop(ended) // what is left is not wanted
			})
			return conformance.System{
				Exec: gate.Execute, Caps: box.Capabilities(), Stop: stop, StopAccepting: true, Slots: workers,
			}
		},
	}
}

// gate is an executor that can be closed: jobs of a pool end with the process, and
// so does what nobody relays any more.
type gate struct {
	exec   core.Executor
	mu     sync.RWMutex
	closed bool // guarded by mu
}

func (g *gate) Execute(ctx context.Context, intents ...core.Intent) error {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.closed && len(intents) > 0 {
		return core.Combine(core.Outcomes(intents, core.NotSent, core.ErrClosed))
	}
	return g.exec(ctx, intents...)
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}

// waivers are for what an outbox cannot say at the call: whether a unique key is
// taken, or an ID known, is found out by the queue, when the row is sent. The job is
// still one.
func waivers() []conformance.Waiver {
	var all []conformance.Waiver
	for _, check := range []string{"P15", "P16", "P17", "B03/unique", "B04/unique", "X05", "L15", "M01", "M03/one system", "M03/two systems"} {
		all = append(all, conformance.Waiver{Check: check, Reason: "a row is accepted whatever the queue will find, which then drops the duplicate",
			Owner: "outbox", Issue: "14", Expires: time.Date(2027, 12, 31, 0, 0, 0, 0, time.UTC)})
	}
	return all
}

// inTransactions makes an executor whose calls are transactions.
func inTransactions(w *world, box *outbox.Box, held bool) core.Executor {
	return func(ctx context.Context, intents ...core.Intent) error {
		if len(intents) == 0 {
			return box.InTx(noTx{})(ctx)
		}
		if ctx == nil {
			return box.InTx(noTx{})(ctx, intents...)
		}
		tx, err := w.db.BeginTx(context.WithoutCancel(ctx), nil)
		if err != nil {
			return core.Combine(core.Outcomes(intents, core.NotSent, adapter.Masked(err)))
		}
		defer tx.Rollback()
		h := box.Hold(outbox.SQL(tx))
		if held {
			err = h.Execute(ctx, intents...)
		} else {
			err = box.InTx(outbox.SQL(tx))(ctx, intents...)
		}
		if err != nil {
			return err
		}
		if err := tx.Commit(); err != nil {
			return core.Combine(core.Outcomes(intents, core.Unknown, errors.New("COMMIT failed")))
		}
		if held {
			h.Committed(context.WithoutCancel(ctx))
		} else {
			box.Wake()
		}
		return nil
	}
}

// noTx is for questions, which use no transaction.
type noTx struct{ outbox.Tx }

// TestAUniqueKeyIsOneJob is what P15 to P17 would show, seen from the jobs.
func TestAUniqueKeyIsOneJob(t *testing.T) {
	t.Parallel()
	w := newSQLite(t)
	open, ran := make(chan struct{}), make(chan string, 100)
	gate := core.NewTask("test.gate", func(_ context.Context, name string) error {
		ran <- name
		<-open
		return nil
	})
	reg, err := worker.NewRegistry(worker.Handle(gate, gate.Func()))
	must(t, err)
	pool, err := poolexec.New(&poolexec.Options{Registry: reg, Logger: quiet})
	must(t, err)
	box, err := outbox.New(w.dialect, &outbox.Options{For: pool.Execute, DB: outbox.SQL(w.db), Logger: quiet})
	must(t, err)
	must(t, box.CreateTable(t.Context(), outbox.SQL(w.db)))
	exec := inTransactions(w, box, true)
	for i := range 50 {
		in, err := gate.Intent("unique", core.Unique("key"))
		must(t, err)
		if i%2 == 0 {
			must(t, exec(t.Context(), in))
		} else {
			must(t, box.InTx(outbox.SQL(w.db))(t.Context(), in))
		}
	}
	relay, err := outbox.NewRelay(box, outbox.SQL(w.db), pool.Execute, &outbox.RelayOptions{Poll: 10 * time.Millisecond, Logger: quiet})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- relay.Run(ctx) }()
	w.awaitStats(t, box, outbox.Stats{})
	cancel()
	must(t, <-done)
	close(open)
	must(t, pool.Stop(context.Background()))
	if n := len(ran); n != 1 {
		t.Errorf("%d jobs ran, want 1", n)
	}
}
