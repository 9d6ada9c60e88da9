package otelairlock_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/otelairlock"
	"github.com/goairlock/airlock/outbox"
)

// counted is a database whose only query counts rows. Tests with real ones are in the
// integration module.
type counted struct {
	rows [][4]int64 // state, number, oldest, now
	err  error
}

func (c *counted) Exec(context.Context, string, ...any) (int64, error) {
	return 0, errors.New("unexpected")
}
func (c *counted) Transact(context.Context, func(outbox.Tx) error) error {
	return errors.New("unexpected")
}
func (c *counted) Query(context.Context, string, ...any) (outbox.Rows, error) {
	return &countedRows{c.rows, -1}, c.err
}

type countedRows struct {
	all [][4]int64
	at  int
}

func (r *countedRows) Next() bool   { r.at++; return r.at < len(r.all) }
func (r *countedRows) Err() error   { return nil }
func (r *countedRows) Close() error { return nil }
func (r *countedRows) Scan(dest ...any) error {
	for i := range dest {
		*dest[i].(*int64) = r.all[r.at][i]
	}
	return nil
}

func TestAnOutboxIsWatched(t *testing.T) {
	t.Parallel()
	e := setup(t, otelairlock.Options{})
	box, err := outbox.New(outbox.Postgres, &outbox.Options{For: func(context.Context, ...core.Intent) error { return nil }, Destination: "mailer"})
	if err != nil {
		t.Fatal(err)
	}
	db := &counted{rows: [][4]int64{{0, 7, 1_000_000, 91_500_000}, {2, 3, 61_500_000, 91_500_000}, {3, 2, 0, 91_500_000}}}
	watch, err := e.tel.WatchOutbox(box, db)
	if err != nil {
		t.Fatal(err)
	}
	rows := func(state string) string {
		return "airlock.outbox.rows{airlock.outbox.destination=mailer airlock.outbox.state=" + state + "}"
	}
	want := map[string]float64{
		rows("waiting"): 7, rows("delayed"): 0, rows("in_flight"): 3, rows("dead"): 2, rows("ambiguous"): 0,
		"airlock.outbox.oldest{airlock.outbox.destination=mailer}": 90.5,
	}
	e.wantPoints("airlock.outbox", want)
	db.rows = nil
	for name := range want {
		want[name] = 0
	}
	e.wantPoints("airlock.outbox", want)
	db.err = errors.New("no route to postgres://user:" + canary + "@host/db")
	var data metricdata.ResourceMetrics
	if err := e.reader.Collect(t.Context(), &data); err == nil || strings.Contains(err.Error(), canary) {
		t.Errorf("a database that fails: %v", err)
	}
	if err := watch.Unregister(); err != nil {
		t.Error(err)
	}
	e.wantPoints("airlock.outbox", map[string]float64{})

	var zero otelairlock.Telemetry
	for name, watch := range map[string]func() error{
		"zero Telemetry": func() error { _, err := zero.WatchOutbox(box, db); return err },
		"nil box":        func() error { _, err := e.tel.WatchOutbox(nil, db); return err },
		"nil database":   func() error { _, err := e.tel.WatchOutbox(box, nil); return err },
	} {
		if err := watch(); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
