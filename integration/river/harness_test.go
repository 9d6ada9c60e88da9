package river_test

import (
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
}

// get opens the database of a namespace, for as long as the check lasts that
// asks first.
func (n *namespaces[TTx]) get(ct conformance.T, namespace string) store[TTx] {
	n.mu.Lock()
	st, ok := n.stores[namespace]
	n.mu.Unlock()
	if ok {
		return st
	}
	st = n.open(checkTB{n.t, ct})
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stores[namespace] = st
	return st
}

// insert stores a job as it was stored once.
func (n *namespaces[TTx]) insert(ctx context.Context, namespace, task, metadata string) error {
	n.mu.Lock()
	st := n.stores[namespace]
	n.mu.Unlock()
	client, err := river.NewClient(st.driver, &river.Config{Logger: quiet})
	if err != nil {
		return err
	}
	_, err = client.Insert(ctx, anyArgs{task, []byte(`{"n":1}`)}, &river.InsertOpts{Metadata: []byte(metadata)})
	return err
}

// corrupt stores a job that no release of ours has written.
func corrupt[TTx any](ctx context.Context, client *river.Client[TTx], task string) error {
	_, err := client.Insert(ctx, anyArgs{task, []byte(`{}`)}, &river.InsertOpts{Metadata: []byte(`{"airlock":{"v":99}}`), MaxAttempts: 2})
	return err
}

// anyArgs are arguments of any kind, from a program without airlock.
type anyArgs struct {
	kind string
	json []byte
}

func (a anyArgs) Kind() string                 { return a.kind }
func (a anyArgs) MarshalJSON() ([]byte, error) { return a.json, nil }

// idOf reads the intent's ID as anybody can: it is plain JSON.
func idOf(row *rivertype.JobRow) string {
	var meta struct{ Airlock struct{ ID string } }
	if json.Unmarshal(row.Metadata, &meta) != nil || meta.Airlock.ID == "" {
		return fmt.Sprint(row.ID)
	}
	return meta.Airlock.ID
}
