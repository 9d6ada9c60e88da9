package otel_test

import (
	"database/sql"
	"path/filepath"
	"testing"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	_ "modernc.org/sqlite"

	"github.com/goairlock/airlock/airlocktest"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/otelairlock"
	"github.com/goairlock/airlock/outbox"
)

func TestAnOutboxInADatabaseIsWatched(t *testing.T) {
	t.Parallel()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "shop.db"))
	ok(err)
	defer db.Close()
	var rec airlocktest.Recorder
	box, err := outbox.New(outbox.SQLite, &outbox.Options{For: rec.Execute, Destination: "mailer"})
	ok(err)
	ok(box.CreateTable(t.Context(), outbox.SQL(db)))
	for range 3 {
		in, err := core.DeclareTask[string]("test.outbox").Intent("a")
		ok(err)
		ok(box.InTx(outbox.SQL(db))(t.Context(), in))
	}
	_, err = db.ExecContext(t.Context(), "UPDATE airlock_outbox SET due = NULL, state = 1 WHERE seq = 1")
	ok(err)
	_, err = db.ExecContext(t.Context(), "UPDATE airlock_outbox SET not_before = not_before - 600000000 WHERE seq = 2")
	ok(err)
	reader := sdkmetric.NewManualReader()
	tel, err := otelairlock.New(&otelairlock.Options{MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))})
	ok(err)
	_, err = tel.WatchOutbox(box, outbox.SQL(db))
	ok(err)
	var data metricdata.ResourceMetrics
	ok(reader.Collect(t.Context(), &data))
	got := make(map[string]float64)
	for _, m := range data.ScopeMetrics[0].Metrics {
		switch d := m.Data.(type) {
		case metricdata.Gauge[int64]:
			for _, p := range d.DataPoints {
				state, _ := p.Attributes.Value("airlock.outbox.state")
				got[state.AsString()] = float64(p.Value)
			}
		case metricdata.Gauge[float64]:
			got[m.Name] = d.DataPoints[0].Value
		}
	}
	if got["waiting"] != 2 || got["dead"] != 1 || got["airlock.outbox.oldest"] < 600 || got["airlock.outbox.oldest"] > 700 {
		t.Errorf("got %v", got)
	}
}
