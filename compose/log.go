package compose

import (
	"context"
	"log/slog"
	"time"

	"github.com/goairlock/airlock/core"
)

// WithLog logs each call of exec as one record, "airlock: dispatch", with the
// number of intents, the number in each state, and the duration. For up to 20
// intents that were neither accepted nor duplicates it has their task, ID, queue,
// state and error. Payloads, headers and native options are never logged. The
// record is made with the call's context, so that a handler finds the trace there.
// Questions are not logged.
//
// The level says whether somebody should look: Debug if everything was accepted
// or a duplicate, Warn if something is NotSent or Unknown, which a retry around
// WithLog may still send, and Error if something is Rejected or Failed.
//
// A nil logger means [slog.Default], as it is at the time of the call. A panic
// of the logger's handler is contained.
func WithLog(exec core.Executor, logger *slog.Logger) core.Executor {
	inner := wrap(needs("WithLog", exec), passOn(exec), func(ctx context.Context, intents []core.Intent) error {
		return exec.Call(ctx, intents)
	})
	return func(ctx context.Context, intents ...core.Intent) error {
		if len(intents) == 0 {
			return inner(ctx)
		}
		begun := time.Now()
		err := inner(ctx, intents...)
		took := time.Since(begun)

		log := logger
		if log == nil {
			log = slog.Default()
		}
		if ctx == nil {
			ctx = context.Background() // the refusal is logged like any other
		}
		contain("WithLog's logger", func() { logCall(ctx, log, intents, err, took) })
		return err
	}
}

// mostLogged limits the intents that one record names.
const mostLogged = 20

// loggedOutcome is an intent that was not accepted, as a record shows it.
type loggedOutcome struct {
	Task  string `json:"task"`
	ID    string `json:"id"`
	Queue string `json:"queue,omitempty"`
	State string `json:"state"`
	Error string `json:"error,omitempty"`
}

func logCall(ctx context.Context, log *slog.Logger, intents []core.Intent, err error, took time.Duration) {
	if err == nil {
		log.LogAttrs(ctx, slog.LevelDebug, "airlock: dispatch",
			slog.Int("intents", len(intents)), slog.Int("accepted", len(intents)), slog.Duration("duration", took))
		return
	}
	var counts [core.Failed + 1]int
	out := core.OutcomesOf(err, intents)
	for i := range out {
		counts[out[i].State]++
	}
	level := slog.LevelDebug
	switch {
	case counts[core.Rejected]+counts[core.Failed] > 0:
		level = slog.LevelError
	case counts[core.NotSent]+counts[core.Unknown] > 0:
		level = slog.LevelWarn
	}
	if !log.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{slog.Int("intents", len(intents))}
	for _, c := range []struct {
		key   string
		state core.State
	}{
		{"accepted", core.Accepted}, {"duplicate", core.Duplicate}, {"rejected", core.Rejected},
		{"not_sent", core.NotSent}, {"unknown", core.Unknown}, {"failed", core.Failed},
	} {
		if counts[c.state] > 0 {
			attrs = append(attrs, slog.Int(c.key, counts[c.state]))
		}
	}
	attrs = append(attrs, slog.Duration("duration", took))
	if bad := undelivered(out); len(bad) > 0 {
		attrs = append(attrs, slog.Any("undelivered", bad))
	}
	log.LogAttrs(ctx, level, "airlock: dispatch", attrs...)
}

func undelivered(out []core.Outcome) []loggedOutcome {
	var bad []loggedOutcome
	for i := range out {
		o := &out[i]
		if settled(o.State) {
			continue
		}
		if len(bad) == mostLogged {
			break
		}
		text := ""
		if o.Err != nil {
			text = o.Err.Error()
		}
		bad = append(bad, loggedOutcome{Task: o.Task, ID: o.ID, Queue: o.Queue, State: o.State.String(), Error: text})
	}
	return bad
}
