package otelairlock

import (
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// The attributes that the semantic conventions do not have.
const (
	taskKey        = attribute.Key("airlock.task")
	outcomeKey     = attribute.Key("airlock.outcome")
	attemptKey     = attribute.Key("airlock.attempt")
	maxAttemptsKey = attribute.Key("airlock.max_attempts")
	resultKey      = attribute.Key("airlock.result")
	verdictKey     = attribute.Key("airlock.verdict")
	reasonKey      = attribute.Key("airlock.reason")
)

var (
	sendName    = semconv.MessagingOperationName("send")
	processName = semconv.MessagingOperationName("process")
)

type instruments struct {
	sendDuration    metric.Float64Histogram
	sent            metric.Int64Counter
	processDuration metric.Float64Histogram
	runs            metric.Int64Counter
	attempt         metric.Int64Histogram
	age             metric.Float64Histogram
	dead            metric.Int64Counter
	parked          metric.Int64Counter
}

// The boundaries of the histograms. Those of durations are the conventions' own, and
// more for jobs, which may take minutes.
var (
	sendBoundaries    = []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}
	processBoundaries = append(append([]float64{}, sendBoundaries...), 30, 60, 300, 900, 3600)
	attemptBoundaries = []float64{1, 2, 3, 5, 10, 25, 50}
	ageBoundaries     = []float64{0.01, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600, 6 * 3600, 24 * 3600, 7 * 24 * 3600}
)

func newInstruments(m metric.Meter) (i instruments, err error) {
	var errs [8]error
	i.sendDuration, errs[0] = m.Float64Histogram("messaging.client.operation.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of messaging operation initiated by a producer or consumer client."),
		metric.WithExplicitBucketBoundaries(sendBoundaries...))
	i.sent, errs[1] = m.Int64Counter("messaging.client.sent.messages", metric.WithUnit("{message}"),
		metric.WithDescription("Number of messages producer attempted to send to the broker."))
	i.processDuration, errs[2] = m.Float64Histogram("messaging.process.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of processing operation."),
		metric.WithExplicitBucketBoundaries(processBoundaries...))
	i.runs, errs[3] = m.Int64Counter("airlock.job.runs", metric.WithUnit("{run}"),
		metric.WithDescription("Number of verdicts about jobs."))
	i.attempt, errs[4] = m.Int64Histogram("airlock.job.attempt", metric.WithUnit("{attempt}"),
		metric.WithDescription("Which attempt of its job a run was."),
		metric.WithExplicitBucketBoundaries(attemptBoundaries...))
	i.age, errs[5] = m.Float64Histogram("airlock.job.age", metric.WithUnit("s"),
		metric.WithDescription("Time from the making of an intent to the start of its first attempt."),
		metric.WithExplicitBucketBoundaries(ageBoundaries...))
	i.dead, errs[6] = m.Int64Counter("airlock.job.dead", metric.WithUnit("{job}"),
		metric.WithDescription("Number of jobs that died."))
	i.parked, errs[7] = m.Int64Counter("airlock.job.parked", metric.WithUnit("{run}"),
		metric.WithDescription("Number of times that a job was parked."))
	return i, errors.Join(errs[:]...)
}
