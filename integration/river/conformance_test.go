package river_test

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"

	"github.com/goairlock/airlock/conformance"
	riverexec "github.com/goairlock/airlock/executors/river"
	"github.com/goairlock/airlock/integration/servers"
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

func newSystem[TTx any](tb checkTB, stores *namespaces[TTx], s conformance.Setup) conformance.System {
	st := stores.get(tb.check, s.Namespace)
	slots, workers := s.Slots, river.NewWorkers()
	if slots == 0 {
		slots = 16
	}
	must(tb, riverexec.AddWorkers(workers, s.Registry))
	config := &river.Config{
		Logger: quiet, Schema: st.schema, TestOnly: true, Workers: workers, Queues: map[string]river.QueueConfig{}, SkipUnknownJobCheck: true,
		FetchCooldown: 5 * time.Millisecond, FetchPollInterval: 100 * time.Millisecond,
	}
	for _, q := range append(s.Queues, "")[:max(len(s.Queues), 1)] {
		if q == "" {
			q = river.QueueDefault
		}
		config.Queues[q] = river.QueueConfig{MaxWorkers: slots}
	}
	switch { // River itself looks for what a worker has lost after an hour
	case st.orphan:
		config.JobTimeout, config.RescueStuckJobsAfter = time.Second, time.Second
	case s.Faults:
		config.JobTimeout, config.RescueStuckJobsAfter = 15*time.Second, 15*time.Second
	}
	must(tb, riverexec.Configure(config))
	var sys conformance.System
	var client, inserting *river.Client[TTx]
	if s.Faults && st.at != nil {
		lines := servers.NewLines(tb.check, s, st.addr)
		lines.Give(&sys)
		inserting = insertOnly(tb, st.at(tb, lines.ExecutorAddr), st.schema)
		client = newClient(tb, st.at(tb, lines.WorkerAddr), config)
	} else {
		client = newClient(tb, st.driver, config)
		inserting = client
	}
	exec, err := riverexec.New(inserting, nil)
	must(tb, err)
	start := func(context.Context) error { return client.Start(context.Background()) }
	if !s.Paused {
		must(tb, start(nil))
	}
	stop := func(ctx context.Context) error {
		err := client.Stop(ctx)
		if err != nil { // jobs run still: their contexts are ended
			ended, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			err = errors.Join(err, client.StopAndCancel(ended))
		}
		return err
	}
	var killed atomic.Bool
	tb.Cleanup(func() {
		limit := patience
		if killed.Load() { // what remains of it tries for minutes to write down what it has done
			limit = 0
		}
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		_ = client.StopAndCancel(ctx)
	})
	direct := insertOnly(tb, st.driver, st.schema)
	sys.Exec, sys.Caps, sys.Start, sys.Stop, sys.Slots = exec.Execute, exec.Capabilities(), start, stop, slots
	sys.Stored = func(ctx context.Context) ([]conformance.Record, error) { return records(ctx, direct) }
	sys.Corrupt = func(ctx context.Context, task string) error { return corrupt(ctx, direct, task) }
	if !s.Faults { // whose connections are not those that kill cuts
		sys.Kill = func() error {
			killed.Store(true)
			return stores.kill(s.Namespace)
		}
	}
	return sys
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
	must(tb, riverexec.Configure(config))
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
