// Package otel tests otelairlock over every queue, with exporters in memory.
//
//	go test -v -run TestTraceOverEveryQueue ./otel
//
// prints the trace and the metrics of each queue as text. With the build tag realservers
// RabbitMQ and Celery are among them.
package otel
