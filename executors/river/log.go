package riverexec

import (
	"context"
	"log/slog"
	"strings"
)

// riverLog is the handler of River's own log. It lowers two kinds of lines to Debug:
// those about a job that the Worker logs as well, and, while the database does not
// answer, the errors of every try.
type riverLog struct {
	slog.Handler
	jobs  *jobWorker
	state *driverState // nil for a client that is not a Worker's
}

func (h *riverLog) Handle(ctx context.Context, r slog.Record) error {
	if r.Level > slog.LevelDebug && (h.state != nil && h.state.lost.Load() || h.repeats(r)) {
		if !h.Enabled(ctx, slog.LevelDebug) {
			return nil
		}
		r.Level = slog.LevelDebug
	}
	return h.Handler.Handle(ctx, r)
}

// repeats reports whether a line is about an event that we log ourselves, or about
// one that the driver of a Worker has prevented.
func (h *riverLog) repeats(r slog.Record) bool {
	_, message, _ := strings.Cut(r.Message, ": ") // behind the service
	var kind string
	var id int64
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "job_kind":
			kind = a.Value.String()
		case "job_id":
			if a.Value.Kind() == slog.KindInt64 {
				id = a.Value.Int64()
			}
		}
		return true
	})
	switch message { // River v0.51.1, jobexecutor and maintenance.JobRescuer
	case "Job errored", "Job errored; retrying", "Job panicked", "Job stopped due to client shutdown; retrying":
		return h.jobs.tasks[kind]
	case "Attempted to rescue unhandled job kind, discarding":
		if h.state == nil {
			return false
		}
		h.state.mu.Lock()
		defer h.state.mu.Unlock()
		job, ok := h.state.stuck[id]
		return ok && (job.ours || job.attempt < job.maxAttempts) // logged as dead, or put back
	}
	return false
}

func (h *riverLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &riverLog{h.Handler.WithAttrs(attrs), h.jobs, h.state}
}

func (h *riverLog) WithGroup(name string) slog.Handler {
	return &riverLog{h.Handler.WithGroup(name), h.jobs, h.state}
}
