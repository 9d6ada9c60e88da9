package otelairlock

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// Observer returns an observer that counts and measures each run: see the table in
// the package comment. It also sees what the Middleware does not, such as parked jobs
// and those that died without a run.
//
// For a nil or zero Telemetry it is nil, which worker.NewRegistry reports.
func (t *Telemetry) Observer() worker.Observer {
	if t.ready() != nil {
		return nil
	}
	return func(ctx context.Context, run worker.Run) {
		if ctx == nil {
			ctx = context.Background()
		}
		if !t.instruments.runs.Enabled(ctx) { // all of them are, or none
			return
		}
		d, v := &run.Delivery, &run.Verdict
		queue := semconv.MessagingDestinationName(t.queues.label(queueOf(d.Queue)))
		task := taskKey.String(t.taskLabel(d.Task, run.Known))
		t.instruments.runs.Add(ctx, 1, metric.WithAttributes(queue, task, verdictKey.String(v.Action.String())))
		switch v.Action {
		case worker.Dead:
			t.instruments.dead.Add(ctx, 1, metric.WithAttributes(queue, task, reasonKey.String(deadReason(&run))))
		case worker.Parked:
			t.instruments.parked.Add(ctx, 1, metric.WithAttributes(queue, task, reasonKey.String(parkedReason(v.Err))))
		}
		if run.Took > 0 { // the handler was called
			t.observeHandler(ctx, &run, queue, task)
		}
	}
}

func (t *Telemetry) observeHandler(ctx context.Context, run *worker.Run, queue, task attribute.KeyValue) {
	d, v := &run.Delivery, &run.Verdict
	attrs := make([]attribute.KeyValue, 0, 6)
	attrs = append(attrs, semconv.MessagingSystemKey.String(t.system), processName, semconv.MessagingOperationTypeProcess, queue, task)
	if v.Action == worker.Retry || v.Action == worker.Dead {
		attrs = append(attrs, semconv.ErrorTypeKey.String(errorType(core.Sound(v.Err))))
	}
	t.instruments.processDuration.Record(ctx, run.Took.Seconds(), metric.WithAttributes(attrs...))
	labels := metric.WithAttributes(queue, task)
	attempt := max(d.Attempt, 1)
	t.instruments.attempt.Record(ctx, int64(attempt), labels)
	if made, ok := madeAt(d.ID); ok && attempt == 1 {
		var age time.Duration
		if start := time.Now().Add(-run.Took); start.After(made) { // the clocks of two machines differ
			age = start.Sub(made)
		}
		t.instruments.age.Record(ctx, age.Seconds(), labels)
	}
}

// deadReason returns why a job died. It follows the order in which
// worker.Registry.Perform decides.
func deadReason(run *worker.Run) string {
	d, err := &run.Delivery, core.Sound(run.Verdict.Err)
	_, snoozed := worker.IsSnooze(err)
	switch late := !d.Deadline.IsZero() && errors.Is(err, context.DeadlineExceeded); {
	case d.EnvelopeErr != nil:
		return "envelope"
	case errors.Is(err, core.ErrMalformed):
		return "arguments"
	case worker.IsPermanent(err):
		return "permanent"
	case late && (run.Took == 0 || snoozed):
		return "deadline"
	case d.MaxAttempts > 0 && d.Attempt >= d.MaxAttempts:
		return "attempts"
	case late:
		return "deadline"
	default:
		return "other"
	}
}

func parkedReason(err error) string {
	switch kind := errorType(core.Sound(err)); kind {
	case "no_handler", "later_version":
		return kind
	default:
		return "other"
	}
}

// madeAt returns the time in an ID that core has generated: a UUID of version 7 begins
// with 48 bits of Unix milliseconds (RFC 9562).
func madeAt(id string) (time.Time, bool) {
	if len(id) != 36 || id[8] != '-' || id[13] != '-' || id[14] != '7' {
		return time.Time{}, false
	}
	var b [8]byte
	if _, err := hex.Decode(b[2:], []byte(id[0:8]+id[9:13])); err != nil {
		return time.Time{}, false
	}
	return time.UnixMilli(int64(binary.BigEndian.Uint64(b[:]))), true
}
