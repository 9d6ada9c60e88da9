package river_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/goairlock/airlock/conformance"
)

// checkTB is a testing.TB whose life is that of a check.
type checkTB struct {
	testing.TB
	check conformance.T
}

func (tb checkTB) Context() context.Context     { return tb.check.Context() }
func (tb checkTB) Cleanup(f func())             { tb.check.Cleanup(f) }
func (tb checkTB) Logf(s string, args ...any)   { tb.check.Logf(s, args...) }
func (tb checkTB) Fatalf(s string, args ...any) { tb.check.Fatalf(s, args...) }
func (tb checkTB) Fatal(args ...any) {
	tb.check.Fatalf("%s", fmt.Sprint(args...))
	runtime.Goexit()
}

// namespaces are the databases of a suite.
type namespaces[TTx any] struct {
	t    *testing.T
	open func(testing.TB) store[TTx]

	mu     sync.Mutex
	stores map[string]store[TTx] // guarded by mu
	dead   map[string]bool       // guarded by mu
}

// get opens the database of a namespace, for as long as the check lasts that
// asks first, and anew after kill.
func (n *namespaces[TTx]) get(ct conformance.T, namespace string) store[TTx] {
	n.mu.Lock()
	st, ok := n.stores[namespace]
	dead := n.dead[namespace]
	n.mu.Unlock()
	switch {
	case !ok:
		st = n.open(checkTB{n.t, ct})
	case dead:
		st = st.reopen(checkTB{n.t, ct})
	default:
		return st
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stores[namespace] = st
	delete(n.dead, namespace)
	return st
}

// kill ends the worker of a namespace.
func (n *namespaces[TTx]) kill(namespace string) error {
	st := n.existing(namespace)
	n.mu.Lock()
	n.dead[namespace] = true
	n.mu.Unlock()
	return st.kill()
}

func (n *namespaces[TTx]) existing(namespace string) store[TTx] {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stores[namespace]
}

// insert stores a job with River's client alone.
func (n *namespaces[TTx]) insert(ctx context.Context, namespace string, args anyArgs, metadata string) error {
	st := n.existing(namespace)
	client, err := river.NewClient(st.driver, &river.Config{Logger: quiet, Schema: st.schema})
	if err != nil {
		return err
	}
	_, err = client.Insert(ctx, args, &river.InsertOpts{Metadata: []byte(metadata)})
	return err
}

// consume works one job with River's client alone.
func (n *namespaces[TTx]) consume(ctx context.Context, namespace string) (task string, payload []byte, err error) {
	worker := &anyWorker{jobs: make(chan *river.Job[anyArgs])}
	workers := river.NewWorkers()
	river.AddWorkerArgs(workers, anyArgs{kind: "conformance.raw"}, worker)
	st := n.existing(namespace)
	client, err := river.NewClient(st.driver, &river.Config{
		Logger: quiet, Schema: st.schema, TestOnly: true, Workers: workers,
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 1}},
	})
	if err != nil {
		return "", nil, err
	}
	if err := client.Start(context.WithoutCancel(ctx)); err != nil {
		return "", nil, err
	}
	defer client.StopAndCancel(context.WithoutCancel(ctx)) //nolint:errcheck // it has one job, and that is done
	select {
	case j := <-worker.jobs:
		return j.Kind, j.Args.json, nil
	case <-ctx.Done():
		return "", nil, ctx.Err()
	}
}

// anyWorker gives away the jobs that it works.
type anyWorker struct {
	river.WorkerDefaults[anyArgs]
	jobs chan *river.Job[anyArgs]
}

func (w *anyWorker) Work(ctx context.Context, j *river.Job[anyArgs]) error {
	select {
	case w.jobs <- j:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// corrupt stores a job that no release of ours has written.
func corrupt[TTx any](ctx context.Context, client *river.Client[TTx], task string) error {
	_, err := client.Insert(ctx, anyArgs{task, []byte(`{}`)}, &river.InsertOpts{Metadata: []byte(`{"airlock":{"v":1},"airlock_wrap":1}`)})
	return err
}

// storeLater stores a job as a later release might, in its only attempt.
func storeLater[TTx any](ctx context.Context, client *river.Client[TTx], task string) error {
	_, err := client.Insert(ctx, anyArgs{task, []byte(`{}`)}, &river.InsertOpts{MaxAttempts: 1, Metadata: []byte(`{"airlock":{"v":99}}`)})
	return err
}

// anyArgs are arguments of any kind, from a program without airlock.
type anyArgs struct {
	kind string
	json []byte
}

func (a anyArgs) Kind() string                 { return a.kind }
func (a anyArgs) MarshalJSON() ([]byte, error) { return a.json, nil }

func (a *anyArgs) UnmarshalJSON(b []byte) error {
	a.json = bytes.Clone(b)
	return nil
}

// idOf reads the intent's ID as anybody can: it is plain JSON.
func idOf(row *rivertype.JobRow) string {
	var meta struct{ Airlock struct{ ID string } }
	if json.Unmarshal(row.Metadata, &meta) != nil || meta.Airlock.ID == "" {
		return fmt.Sprint(row.ID)
	}
	return meta.Airlock.ID
}
