package river_test

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"

	"github.com/goairlock/airlock/conformance"
	riverexec "github.com/goairlock/airlock/executors/river"
)

func TestConformance(t *testing.T) {
	conformance.Run(t, harness(t, "river-sqlite", "SQLite (modernc.org/sqlite v1.61.1)", func(tb testing.TB) store[*sql.Tx] { return openSQLite(tb) }))
}

// harness makes a database of its own for each namespace.
func harness[TTx any](t *testing.T, name, backend string, open func(testing.TB) store[TTx]) conformance.Harness {
	stores := &namespaces[TTx]{t: t, open: open, stores: map[string]store[TTx]{}, dead: map[string]bool{}}
	return conformance.Harness{
		Subject:      conformance.Subject{Name: name, Module: "github.com/goairlock/airlock/executors/river", Backend: backend},
		RewritesJSON: true,
		// Until a new leader is elected, and its rescuer has looked.
		RecoversWithin: 15 * time.Second,
		ParksFor:       2 * time.Second,
		Inspects:       true,
		// Every job is a few transactions, and this SQLite is Go that the race detector slows down too. Scale bounds only what a
		// green run does not use up, but for Settle.
		Scale: 20, Settle: 200 * time.Millisecond,
		New: func(ct conformance.T, s conformance.Setup) conformance.System {
			return newSystem(checkTB{t, ct}, stores, s)
		},
		Native: &conformance.Native{
			Produce: func(ctx context.Context, namespace, task string, payload []byte) error {
				return stores.insert(ctx, namespace, anyArgs{task, payload}, `{}`)
			},
			Consume: stores.consume,
		},
		Golden: goldenRows(stores),
	}
}

// drainFor is how long the suite's jobs may take to end after Stop.
const drainFor = 10 * time.Second

func newSystem[TTx any](tb checkTB, stores *namespaces[TTx], s conformance.Setup) conformance.System {
	st := stores.get(tb.check, s.Namespace)
	slots := s.Slots
	if slots == 0 {
		slots = 16
	}
	opts := &riverexec.WorkerOptions{
		Concurrency: slots, QueueNames: s.NativeNames, Logger: s.Logger, DrainTimeout: drainFor, ParkFor: time.Second, Queues: []string{river.QueueDefault},
		Config: river.Config{
			Schema: st.schema, TestOnly: true, FetchCooldown: 5 * time.Millisecond, FetchPollInterval: 100 * time.Millisecond,
		},
	}
	if len(s.Queues) > 0 {
		opts.Queues = slices.Clone(s.Queues)
	}
	for i, q := range opts.Queues {
		if q == "" {
			opts.Queues[i] = river.QueueDefault
		}
	}
	switch { // River itself looks for what a worker has lost after an hour
	case st.orphan:
		opts.Config.JobTimeout, opts.Config.RescueStuckJobsAfter = time.Second, time.Second
	case s.Faults:
		opts.Config.JobTimeout, opts.Config.RescueStuckJobsAfter = 15*time.Second, 15*time.Second
	}
	var sys conformance.System
	working, inserting := st.driver, st.driver
	if s.Faults && st.at != nil {
		lines := conformance.NewLines(tb.check, s, st.addr)
		lines.SetProxies(&sys)
		working, inserting = st.at(tb, lines.WorkerAddr), st.at(tb, lines.ExecutorAddr)
	}
	w, err := riverexec.NewWorker(working, s.Registry, opts)
	must(tb, err)
	exec, err := riverexec.New(insertOnly(tb, inserting, st.schema), &riverexec.Options{QueueNames: s.NativeNames})
	must(tb, err)
	r := &running[TTx]{worker: w, ended: make(chan struct{})}
	if !s.Paused {
		must(tb, r.start(tb.Context()))
	}
	tb.Cleanup(r.end)
	direct := insertOnly(tb, st.driver, st.schema)
	sys.Exec, sys.Caps, sys.Start, sys.Stop, sys.Slots = exec.Execute, exec.Capabilities(), r.start, r.stop, slots
	view, err := riverexec.NewInspector(st.driver, &riverexec.InspectorOptions{Schema: st.schema})
	must(tb, err)
	sys.Inspector = view
	sys.Stored = func(ctx context.Context) ([]conformance.Record, error) { return records(ctx, direct) }
	sys.Corrupt = func(ctx context.Context, task string) error { return corrupt(ctx, direct, task) }
	sys.Later = func(ctx context.Context, task string) error { return storeLater(ctx, direct, task) }
	sys.NativeNames = true
	sys.Freeze = func() (func() error, error) { return func() error { return nil }, st.takeAway(tb.Context()) }
	if !s.Faults { // whose connections are not those that kill cuts
		sys.Kill = func() error {
			r.killed.Store(true)
			return stores.kill(s.Namespace)
		}
	}
	return sys
}

// running is a worker that runs.
type running[TTx any] struct {
	worker *riverexec.Worker[TTx]
	once   sync.Once
	cancel context.CancelFunc // set before ended can be closed
	err    error              // Run's, once ended is closed
	ended  chan struct{}
	killed atomic.Bool
}

func (r *running[TTx]) start(context.Context) error {
	r.once.Do(func() {
		ctx, cancel := context.WithCancel(context.Background())
		r.cancel = cancel
		go func() {
			defer close(r.ended)
			r.err = r.worker.Run(ctx)
		}()
	})
	return nil
}

// stop stops the worker. The time that it gives its jobs is its own, and not that of ctx.
func (r *running[TTx]) stop(ctx context.Context) error {
	r.once.Do(func() { close(r.ended) }) // it never ran
	if r.cancel != nil {
		r.cancel()
	}
	select {
	case <-r.ended:
		return r.err
	case <-ctx.Done():
		<-r.ended
		return errors.Join(ctx.Err(), r.err)
	}
}

// end stops the worker unless it has been killed: what remains of it tries for minutes
// to write down what it has done.
func (r *running[TTx]) end() {
	if r.killed.Load() {
		r.cancel()
		return
	}
	_ = r.stop(context.Background())
}

func newClient[TTx any](tb testing.TB, driver riverdriver.Driver[TTx], config *river.Config) *river.Client[TTx] {
	tb.Helper()
	client, err := river.NewClient(driver, config)
	must(tb, err)
	return client
}

// insertOnly is a client that works no jobs.
func insertOnly[TTx any](tb testing.TB, driver riverdriver.Driver[TTx], schema string) *river.Client[TTx] {
	tb.Helper()
	config := &river.Config{Logger: quiet, Schema: schema, TestOnly: true}
	must(tb, riverexec.ConfigureClient(config))
	return newClient(tb, driver, config)
}

func records[TTx any](ctx context.Context, client *river.Client[TTx]) ([]conformance.Record, error) {
	res, err := client.JobList(ctx, river.NewJobListParams().First(10_000))
	if err != nil {
		return nil, err
	}
	var all []conformance.Record
	for _, row := range res.Jobs {
		state := conformance.Waiting
		switch row.State {
		case rivertype.JobStateRunning:
			state = conformance.Running
		case rivertype.JobStateCompleted:
			state = conformance.Finished
		case rivertype.JobStateCancelled, rivertype.JobStateDiscarded:
			state = conformance.Buried
		}
		all = append(all, conformance.Record{ID: idOf(row), Task: row.Kind, State: state})
	}
	return all, nil
}

// goldenRows are jobs as each release has stored them, put there by River's client.
func goldenRows[TTx any](stores *namespaces[TTx]) []conformance.Golden {
	row := func(name, args, metadata string) conformance.Golden {
		return conformance.Golden{
			Name: name, ID: "golden-1", Payload: []byte(args), Headers: map[string]string{"Color": "red"},
			Put: func(ctx context.Context, namespace string) error {
				stored := args
				if !stores.existing(namespace).postgres && args[0] == '"' { // SQLite's driver makes a value of a string
					stored = strconv.Quote(args)
				}
				return stores.insert(ctx, namespace, anyArgs{"conformance.golden", []byte(stored)}, metadata)
			},
		}
	}
	wrapped := row("v0.1 wrapped", `"AAECKg=="`, `{"airlock":{"v":1,"id":"golden-1","headers":{"Color":"red"}},"airlock_wrap":"base64"}`)
	wrapped.Payload = []byte{0, 1, 2, '*'}
	return []conformance.Golden{
		row("v0.1", `{"n":1}`, `{"airlock":{"v":1,"id":"golden-1","timeout":"1m0s","headers":{"Color":"red"},"new":true}}`),
		row("v0.1 string", `"text"`, `{"theirs":1,"airlock":{"v":1,"id":"golden-1","backoff":["1s","1m0s"],"deadline":"2100-01-02T15:04:05Z","headers":{"Color":"red"}}}`),
		wrapped,
	}
}
