// Package otelairlock reports dispatches and runs of jobs to OpenTelemetry.
//
//	tel, err := otelairlock.New(nil)              // the global providers and propagator
//	…
//	exec := tel.Executor(queue.Execute)           // in the producer
//	…
//	reg, err := worker.NewRegistry(               // in the worker
//		tel.Middleware(), tel.Observer(),
//		worker.Handle(orders.SendReceipt, mailer.Send),
//	)
//
// Spans and instruments follow the semantic conventions for messaging, version
// 1.43.0, which are still in development. What the conventions do not have begins
// with "airlock.".
//
// # Spans
//
//	send <queue>     kind producer, one for each call of the Executor. Its context is
//	                 in the headers of the call's intents. It is linked to the
//	                 contexts that intents brought in headers of their own.
//	process <queue>  kind consumer, one for each run of a handler, linked to the
//	                 span that sent the job. Its parent is the span of the worker's
//	                 context, if there is one, so that mostly each run is a trace.
//
// Attributes of both:
//
//	messaging.system              Options.System
//	messaging.operation.name      send or process, and messaging.operation.type alike
//	messaging.destination.name    the queue; "default" if the job names none
//	messaging.message.id          the job's ID
//	airlock.task                  the task
//	error.type                    what went wrong, see below
//
// A send span that has more than one intent has messaging.batch.message_count, and
// only what all its intents share of queue and task. It has no ID. Instead it has an
// event "airlock.intent" with ID, task, queue and outcome for each of its intents:
// first those that were not accepted, and 100 at most. A send span has the worst
// outcome as airlock.outcome: accepted, duplicate, not_sent, failed, rejected or
// unknown. A duplicate is no error.
//
// A process span has airlock.attempt, airlock.max_attempts if there is a limit, and
// airlock.result: done, snoozed, interrupted, failed, or permanent if the error is
// not to be retried. Only failed and permanent are errors.
//
// # Instruments
//
//	messaging.client.operation.duration  histogram, s: a call of the Executor.
//	                                     System, operation, queue, error.type
//	messaging.client.sent.messages       counter, {message}: an intent given to the
//	                                     Executor. System, operation, queue, task,
//	                                     airlock.outcome, error.type
//	messaging.process.duration           histogram, s: a run of a handler. System,
//	                                     operation, queue, task, error.type
//	airlock.job.runs                     counter, {run}: a verdict about a job.
//	                                     Queue, task, airlock.verdict
//	airlock.job.attempt                  histogram, {attempt}: which attempt a run of a
//	                                     handler was. Queue, task
//	airlock.job.age                      histogram, s: the time from the making of an
//	                                     intent to the start of its first attempt,
//	                                     delays included. Only for generated IDs, which
//	                                     hold the time. Queue, task
//	airlock.job.dead                     counter, {job}: a job that died. Queue, task,
//	                                     airlock.reason: permanent, arguments, envelope,
//	                                     attempts, deadline or other
//	airlock.job.parked                   counter, {run}: a job was parked; it counts each
//	                                     time that a worker looks at the job again.
//	                                     Queue, task, airlock.reason: no_handler,
//	                                     later_version or other
//
// [Telemetry.WatchOutbox] makes gauges of an outbox.
//
// Label values are bounded. A task is the name of a task with a handler in the
// worker's registry, or one of Options.Tasks; every other one is "_other". The first
// 100 queues have their names; every further one is "_other". airlock.verdict is one
// of the names of worker.Action. error.type is one of panic, unsupported_option,
// too_large, no_handler, malformed, later_version, invalid, closed, unavailable,
// timeout, canceled, earlier_failed, not_sent, unknown_outcome and _OTHER.
//
// # What is not reported
//
// No payload and no header value. No text of an error either, because the error of a
// handler may quote its arguments: spans have the type, and Options.ErrorText adds
// the text for programs that want it.
//
// Calls without intents and questions (core.Executor.Check) are not reported.
package otelairlock
