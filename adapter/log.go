package adapter

import (
	"context"
	"log/slog"
	"time"

	"github.com/goairlock/airlock/worker"
)

// LogRun writes one log line about a run, in the same form on every queue. The level
// is Debug for a job that is done or snoozed, Warn for a failed attempt and for a
// job that is parked or put back, and Error for a dead job. The keys are task, id,
// queue, attempt and took. If they apply there are also error, and next for the
// time until the next run. The line has no payload and no headers. A nil logger is
// [slog.Default].
func LogRun(ctx context.Context, logger *slog.Logger, run worker.Run) {
	if logger == nil {
		logger = slog.Default()
	}
	level, message := slog.LevelWarn, "airlock: attempt failed"
	switch run.Verdict.Action {
	case worker.Done:
		level, message = slog.LevelDebug, "airlock: job done"
	case worker.Snoozed:
		level, message = slog.LevelDebug, "airlock: job snoozed"
	case worker.Dead:
		level, message = slog.LevelError, "airlock: job dead"
	case worker.Parked:
		message = "airlock: job parked"
	case worker.Interrupted:
		message = "airlock: job put back"
	}
	if !logger.Enabled(ctx, level) {
		return
	}
	d := &run.Delivery
	attrs := make([]slog.Attr, 0, 7)
	attrs = append(attrs,
		slog.String("task", d.Task), slog.String("id", d.ID), slog.String("queue", d.Queue),
		slog.Int("attempt", max(d.Attempt, 1)), slog.Duration("took", run.Took))
	if err := run.Verdict.Err; err != nil && run.Verdict.Action != worker.Snoozed {
		attrs = append(attrs, slog.String("error", ErrorText(err, maxLogText)))
	}
	if after := run.Verdict.After; after > 0 {
		attrs = append(attrs, slog.Duration("next", after.Round(time.Millisecond)))
	}
	logger.LogAttrs(ctx, level, message, attrs...)
}

// LogLost says at Warn that a worker has lost its backend and tries again, in the same
// form on every queue. Call it once, and [LogBack] when the backend serves the worker
// again. executor is core.Capabilities.Executor. attrs are what else is known, mostly the
// error.
func LogLost(logger *slog.Logger, executor string, attrs ...slog.Attr) {
	logLink(logger, slog.LevelWarn, "airlock: backend lost, trying again", executor, attrs)
}

// LogBack says at Info that the backend is back, see [LogLost].
func LogBack(logger *slog.Logger, executor string, attrs ...slog.Attr) {
	logLink(logger, slog.LevelInfo, "airlock: backend is back", executor, attrs)
}

func logLink(logger *slog.Logger, level slog.Level, message, executor string, attrs []slog.Attr) {
	if logger == nil {
		logger = slog.Default()
	}
	logger.LogAttrs(context.Background(), level, message, append([]slog.Attr{slog.String("executor", executor)}, attrs...)...)
}

// maxLogText is the longest error text in a log line, in bytes.
const maxLogText = 2000
