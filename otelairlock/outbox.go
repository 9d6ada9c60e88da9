package otelairlock

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/outbox"
)

// The attributes of the instruments of an outbox.
const (
	destinationKey = attribute.Key("airlock.outbox.destination")
	stateKey       = attribute.Key("airlock.outbox.state")
)

// WatchOutbox makes the instruments of an outbox. Each time that metrics are collected,
// it calls [outbox.Box.Stats], which reads every row of the destination. One process for
// each destination is enough. Unregister of the result ends it.
//
//	airlock.outbox.rows    gauge, {row}: rows, by airlock.outbox.state: waiting,
//	                       delayed, in_flight, dead or ambiguous
//	airlock.outbox.oldest  gauge, s: the age of the oldest row that is waiting or in
//	                       flight, from the end of its delay; 0 if there is none
//
// Both have airlock.outbox.destination. If the database fails, nothing is observed and
// the error goes to OpenTelemetry's error handler.
//
// A nil or zero Telemetry or box, and a nil database, are [core.ErrInvalid].
func (t *Telemetry) WatchOutbox(box *outbox.Box, db outbox.DB) (registered metric.Registration, err error) {
	if err := t.ready(); err != nil {
		return nil, err
	}
	if _, err := outbox.NewInspector(box, db); err != nil { // it checks both
		return nil, err
	}
	defer func() {
		if v := recover(); v != nil {
			err = invalidf("the meter panicked: %v", v)
		}
	}()
	rows, rowsErr := t.meter.Int64ObservableGauge("airlock.outbox.rows", metric.WithUnit("{row}"),
		metric.WithDescription("Number of rows in an outbox."))
	oldest, oldestErr := t.meter.Float64ObservableGauge("airlock.outbox.oldest", metric.WithUnit("s"),
		metric.WithDescription("Age of the oldest row of an outbox that is waiting or in flight."))
	if err := errors.Join(rowsErr, oldestErr); err != nil {
		return nil, fmt.Errorf("airlock: otelairlock: %w: %w", core.ErrInvalid, err)
	}
	where := destinationKey.String(box.Destination())
	return t.meter.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		stats, err := box.Stats(ctx, db)
		if err != nil {
			return err
		}
		for _, one := range []struct {
			state string
			n     int64
		}{{"waiting", stats.Waiting}, {"delayed", stats.Delayed}, {"in_flight", stats.InFlight}, {"dead", stats.Dead}, {"ambiguous", stats.Ambiguous}} {
			o.ObserveInt64(rows, one.n, metric.WithAttributes(where, stateKey.String(one.state)))
		}
		o.ObserveFloat64(oldest, stats.Oldest.Seconds(), metric.WithAttributes(where))
		return nil
	}, rows, oldest)
}
