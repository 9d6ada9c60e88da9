package asynqexec

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/hibiken/asynq"

	"github.com/goairlock/airlock/adapter"
)

// logBridge writes asynq's own log lines to a slog.Logger, except for those about
// what adapter.LogRun has logged already.
type logBridge struct {
	logger *slog.Logger
	client *workerClient  // nil on a server that is not a Worker's
	level  asynq.LogLevel // of the lines that asynq writes; 0 is asynq.InfoLevel

	mu      sync.Mutex
	omitted map[string]struct{} // guarded by mu; lines that asynq is about to write
}

// Lines of asynq v0.26.0 about one job.
const (
	lineExhausted = "Retry exhausted for task id="
	lineQuitting  = "Quitting worker. task id="
	linePushed    = "Pushed task id=%s back to queue"
)

// lineSubscribe begins a line that says nothing new, see workerClient.Subscribe.
const lineSubscribe = "cannot subscribe to cancelation channel"

// omit leaves out a line that asynq is about to write at this level.
func (l *logBridge) omit(level asynq.LogLevel, line string) {
	if level < max(l.level, asynq.InfoLevel) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.omitted == nil {
		l.omitted = map[string]struct{}{}
	}
	l.omitted[line] = struct{}{}
}

// isOmitted reports whether a line is left out, this time.
func (l *logBridge) isOmitted(line string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.omitted[line]
	delete(l.omitted, line)
	return ok
}

// Debug, Info, Warn, Error and Fatal are asynq.Logger. Fatal does not end the
// program.
func (l *logBridge) Debug(args ...any) { l.log(slog.LevelDebug, args) }
func (l *logBridge) Info(args ...any)  { l.log(slog.LevelInfo, args) }
func (l *logBridge) Warn(args ...any)  { l.log(slog.LevelWarn, args) }
func (l *logBridge) Error(args ...any) { l.log(slog.LevelError, args) }
func (l *logBridge) Fatal(args ...any) { l.log(slog.LevelError, args) }

func (l *logBridge) log(level slog.Level, args []any) {
	if l.client != nil && l.client.isAway() {
		level = slog.LevelDebug // asynq logs each try, and the client has logged the outage
	}
	ctx, line := context.Background(), fmt.Sprint(args...)
	if l.client != nil && strings.HasPrefix(line, lineSubscribe) {
		return
	}
	if l.isOmitted(line) || !l.logger.Enabled(ctx, level) {
		return
	}
	l.logger.Log(ctx, level, "asynq: "+adapter.MaskURLs(line))
}
