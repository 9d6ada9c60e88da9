package otel_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/trace"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// A job fails, snoozes and succeeds. Then it sends another job.
func TestTraceOverEveryQueue(t *testing.T) {
	t.Parallel()
	all := allQueues(t)
	requireInGuide(t, all)
	for name, q := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := setup(t, name)
			var runs, lost atomic.Int32
			var exec core.Executor // made after the registry
			made := make(chan struct{})
			note := func(ctx context.Context) {
				if baggage.FromContext(ctx).Member("tenant").Value() != canary {
					lost.Add(1)
				}
			}
			reg, err := worker.NewRegistry(
				e.tel.Middleware(), e.tel.Observer(),
				airlock.Scoped(func(ctx context.Context, ins ...core.Intent) error { <-made; return exec(ctx, ins...) }),
				worker.Handle(parent, func(ctx context.Context, _ string) error {
					note(ctx)
					switch n := runs.Add(1); {
					case n == 1:
						return errors.New(canary)
					case n == 2 && !q.inline:
						return worker.Snooze(time.Second)
					}
					return airlock.Enqueue(ctx, child, canary)
				}),
				worker.Handle(child, func(ctx context.Context, _ string) error { note(ctx); return nil }),
			)
			e.must(err)
			queue, opts := q.start(e, reg, 5)
			exec = e.tel.Executor(queue)
			close(made)

			ctx, request := e.request()
			in := e.intent(parent, append(opts, core.Header("Authorization", canary))...)
			e.must(airlock.Run(ctx, exec, func(ctx context.Context) error { return airlock.Add(ctx, in) }))
			results, attempts := []string{"failed", "snoozed", "done"}, []string{"1", "2", "2"}
			if q.inline {
				results, attempts = []string{"failed", "done"}, []string{"1", "2"}
			}
			e.await("the last run", func() bool { return e.sum("airlock.job.runs") == len(results)+1 })

			sent, ran := e.ended(trace.SpanKindProducer), e.ended(trace.SpanKindConsumer)
			sentParent, sentChild := ofTask(sent, parent.Name()), ofTask(sent, child.Name())
			ranParent, ranChild := ofTask(ran, parent.Name()), ofTask(ran, child.Name())
			if len(sentParent) != 1 || len(sentChild) != 1 || len(ranParent) != len(results) || len(ranChild) != 1 {
				t.Fatalf("spans:\n%s", e.text())
			}
			if p := sentParent[0].Parent(); p.SpanID() != request.SpanID() {
				t.Errorf("the job's sender has the parent %v", p)
			}
			var gotResults, gotAttempts []string
			for _, s := range ranParent {
				e.linkedTo(s, sentParent[0])
				gotResults, gotAttempts = append(gotResults, attr(s, "airlock.result")), append(gotAttempts, attr(s, "airlock.attempt"))
				if s.Parent().IsValid() || attr(s, "messaging.message.id") != in.ID || attr(s, "messaging.destination.name") != "default" || attr(s, "airlock.max_attempts") != "5" {
					t.Errorf("parent %v, attributes %v", s.Parent(), s.Attributes())
				}
			}
			if !slices.Equal(gotResults, results) || !slices.Equal(gotAttempts, attempts) {
				t.Errorf("results %v of attempts %v", gotResults, gotAttempts)
			}
			if last := ranParent[len(ranParent)-1]; sentChild[0].Parent().SpanID() != last.SpanContext().SpanID() {
				t.Errorf("the child's sender has the parent %v", sentChild[0].Parent())
			}
			e.linkedTo(ranChild[0], sentChild[0])
			if lost.Load() != 0 {
				t.Errorf("the baggage was lost in %d runs", lost.Load())
			}
			e.wantSum(2, "messaging.client.sent.messages", "airlock.outcome=accepted", "messaging.system="+name)
			e.wantSum(2, "messaging.client.operation.duration")
			e.wantSum(len(results)+1, "messaging.process.duration")
			e.wantSum(1, "airlock.job.runs", "airlock.verdict=retry", "airlock.task=order.placed")
			e.wantSum(2, "airlock.job.runs", "airlock.verdict=done", "messaging.destination.name=default")
			e.wantSum(1, "airlock.job.age", "airlock.task=order.placed") // the child's ID is derived
			e.wantSum(0, "airlock.job.dead")
			e.wantNoSecret()
			if testing.Verbose() {
				t.Logf("%s:\n%s", name, e.text())
			}
		})
	}
}

func TestDeadAndParkedJobsOverEveryQueue(t *testing.T) {
	t.Parallel()
	for name, q := range allQueues(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := setup(t, name)
			reg, err := worker.NewRegistry(e.tel.Middleware(), e.tel.Observer(),
				worker.Handle(parent, func(context.Context, string) error { return worker.Permanent(errors.New(canary)) }),
				worker.Handle(child, func(context.Context, string) error { panic(canary) }))
			e.must(err)
			queue, once := q.start(e, reg, 1)
			exec := e.tel.Executor(queue)
			// In the caller's goroutine the death of a job is the answer.
			for _, in := range []core.Intent{e.intent(parent), e.intent(child, once...)} {
				if err := exec(t.Context(), in); err != nil && !q.inline {
					t.Fatal(err)
				}
			}
			e.await("the second death", func() bool { return e.sum("airlock.job.dead") == 2 })
			e.wantSum(1, "airlock.job.dead", "airlock.reason=permanent", "airlock.task=order.placed")
			e.wantSum(1, "airlock.job.dead", "airlock.reason=attempts", "airlock.task=email.receipt")
			e.wantSum(1, "messaging.process.duration", "error.type=_OTHER", "airlock.task=order.placed")
			e.wantSum(1, "messaging.process.duration", "error.type=panic", "airlock.task=email.receipt")
			e.wantSum(2, "airlock.job.runs", "airlock.verdict=dead")
			e.wantNoSecret()

			err = exec(t.Context(), e.intent(core.DeclareTask[string]("test.unknown")))
			if q.inProcess {
				if !errors.Is(err, core.ErrNoHandler) {
					t.Errorf("got %v", err)
				}
				e.wantSum(1, "messaging.client.sent.messages", "airlock.task=_other", "airlock.outcome=rejected", "error.type=no_handler")
				return
			}
			e.must(err)
			e.wantSum(1, "messaging.client.sent.messages", "airlock.task=_other", "airlock.outcome=accepted")
			if q.parks {
				e.await("the parking", func() bool { return e.sum("airlock.job.parked") > 0 })
				e.wantSum(1, "airlock.job.parked", "airlock.reason=no_handler", "airlock.task=_other")
			}
		})
	}
}
