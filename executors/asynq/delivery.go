package asynqexec

import (
	"context"
	"time"

	"github.com/hibiken/asynq"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// deliveryOf returns the task in the registry's form. What the envelope does not
// say comes from asynq's own fields: tasks of native producers, and those that
// v0.1 has stored, have no envelope or only a part of one. Their asynq.Timeout ends
// the context, so it is not repeated here.
func deliveryOf(ctx context.Context, t *asynq.Task, names adapter.QueueNames) worker.Delivery {
	id, _ := asynq.GetTaskID(ctx)
	queue, _ := asynq.GetQueueName(ctx)
	retried, _ := asynq.GetRetryCount(ctx)
	d := worker.Delivery{
		ID: id, Task: t.Type(), Queue: queueOf(names, queue), Payload: t.Payload(), Attempt: retried + 1, Native: t,
	}
	if most, ok := asynq.GetMaxRetry(ctx); ok {
		d.MaxAttempts = most + 1
	}
	headers := t.Headers()
	envelope, own := headers[envelopeHeader]
	if !own {
		d.Headers = core.NewHeaders(headers)
		return d
	}
	if len(headers) > 1 {
		given := make(map[string]string, len(headers)-1)
		for k, v := range headers {
			if k != envelopeHeader {
				given[k] = v
			}
		}
		d.Headers = core.NewHeaders(given)
	}
	if envelope == plainHeaders[envelopeHeader] {
		d.MaxAttempts = core.DefaultMaxAttempts
		return d
	}
	env, err := adapter.DecodeEnvelope([]byte(envelope))
	d.Backoff, d.Timeout, d.Deadline, d.EnvelopeErr = env.Backoff, env.Timeout, env.Deadline, err
	if env.MaxAttempts > 0 {
		d.MaxAttempts = env.MaxAttempts
	}
	return d
}

// hasSlack reports whether asynq would retry the task once more. Without slack it
// archives the task without asking for the reason.
func hasSlack(ctx context.Context) bool {
	retried, _ := asynq.GetRetryCount(ctx)
	most, served := asynq.GetMaxRetry(ctx)
	return !served || retried < most
}

// withoutLimit hides the time limit that means none.
func withoutLimit(ctx context.Context) context.Context {
	if end, ok := ctx.Deadline(); ok && time.Until(end) > longest/2 {
		return limitless{ctx}
	}
	return ctx
}

type limitless struct{ context.Context }

func (limitless) Deadline() (time.Time, bool) { return time.Time{}, false }
