package mutants

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log"
	"log/slog"

	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// logging makes a bug of what is logged when jobs are sent.
func logging(line func(to *slog.Logger, in core.Intent)) bug {
	return bug{inner: func(next core.Executor, s *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			for _, in := range intents {
				line(s.setup.Logger, in)
			}
			return next(ctx, intents...)
		}
	}}
}

// saying makes a bug of what the outcomes of some intents say.
func saying(state core.State, say func(in core.Intent, err error) error) bug {
	return bug{outer: func(next core.Executor, _ *system) core.Executor { return says(next, state, say) }}
}

func says(next core.Executor, state core.State, say func(in core.Intent, err error) error) core.Executor {
	return func(ctx context.Context, intents ...core.Intent) error {
		if len(intents) == 0 || ctx == nil {
			return next(ctx, intents...)
		}
		err := next(ctx, intents...)
		if err == nil {
			return nil
		}
		out := core.OutcomesOf(err, intents)
		for i := range out {
			if out[i].State == state && intents[i].Task != "" {
				out[i].Err = say(intents[i], out[i].Err)
			}
		}
		return core.Combine(out)
	}
}

// hidden is an error whose text is harmless.
type hidden struct {
	error
	Payload []byte
}

func (h hidden) Unwrap() error { return h.error }

// inside is an error with more than one below it.
type inside struct{ all []error }

func (i inside) Error() string   { return i.all[0].Error() }
func (i inside) Unwrap() []error { return i.all }

// secretMutants show payloads and headers.
var secretMutants = []Variant{
	queue("logs-payloads", "X05", "writes payloads to the log, in base64", logging(func(to *slog.Logger, in core.Intent) {
		to.Debug("sent", "job", in.ID, "payload", base64.StdEncoding.EncodeToString(in.Payload()))
	})),
	queue("logs-bytes", "X05", "writes payloads to the log as numbers", logging(func(to *slog.Logger, in core.Intent) {
		to.Info(fmt.Sprintf("sent %v", in.Payload()))
	})),
	queue("logs-hex-of-failed", "X05", "writes the beginning of a failed job's payload to the log, in hexadecimal", bug{
		perform: func(w *brokenWorker, d worker.Delivery) worker.Verdict {
			v := w.registry.Perform(w.ctx, d)
			if v.Action == worker.Dead {
				w.logger.Error("dead", "payload", hex.EncodeToString(d.Payload[:min(len(d.Payload), 48)]))
			}
			return v
		},
	}),
	queue("prints-headers", "X05", "writes headers to the standard log", logging(func(_ *slog.Logger, in core.Intent) {
		if in.Headers().Has("Authorization") {
			log.Print("headers of ", in.ID, ": ", in.Headers().Get("Authorization"))
		}
	})),
	queue("duplicate-shows-payload", "X05", "shows the beginning of the payload in the error of a duplicate", saying(core.Duplicate, func(in core.Intent, err error) error {
		return fmt.Errorf("%.40s: %w", in.Payload(), err)
	})),
	queue("not-sent-shows-payload", "X05", "has the payload in an error that it wraps", saying(core.NotSent, func(in core.Intent, err error) error {
		return inside{[]error{err, errors.New(string(in.Payload()))}}
	})),
	queue("rejected-has-payload", "X05", "has the payload in a field of its errors", saying(core.Rejected, func(in core.Intent, err error) error {
		return hidden{err, in.Payload()[:min(len(in.Payload()), 4096)]}
	})),
	queue("stop-shows-what-is-left", AnyEnding, "lists the payloads of running jobs in the error of Stop", bug{system: func(out *conformance.System, s *system) {
		stop := out.Stop
		out.Stop = func(ctx context.Context) error {
			var left string
			s.store.mu.Lock()
			for _, j := range s.store.all {
				if j.state == conformance.Running {
					left += string(j.payload)
				}
			}
			s.store.mu.Unlock()
			if err := stop(ctx); err != nil {
				return fmt.Errorf("%w: left: %s", err, left)
			}
			return nil
		}
	}}),
	inline("inline-shows-payload", "X05", "quotes the payload in the error of a job that failed", inlineCaps(), func(next core.Executor, _ *worker.Registry) core.Executor {
		return says(next, core.Failed, func(in core.Intent, err error) error { return fmt.Errorf("job %q: %w", in.Payload(), err) })
	}),
}
