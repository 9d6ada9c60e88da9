// Package otlp tests otelairlock with an OpenTelemetry Collector: spans and metrics go
// over OTLP, and the test reads what the collector has made of them.
//
// It is a module outside the workspace, since the collector has 700 packages and the
// go command would read the go.mod files of all its modules at every command. Run it
// with make collector.
package otlp
