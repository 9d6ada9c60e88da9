// Package poolexec is a core.Executor that runs jobs on goroutines of this
// process.
//
//	pool, err := poolexec.New(&poolexec.Options{Registry: registry})
//	…
//	err = airlock.Run(ctx, pool.Execute, func(ctx context.Context) error { … })
//	…
//	err = pool.Stop(ctx)
//
// It needs no server, and it is gone with its process: for side effects whose
// loss can be borne, for programs that have no queue yet, and for tests that
// should see jobs run as on a queue.
//
// # Mapping
//
//	Intent         in the pool
//	ID             one job per ID that waits, runs, or is among the last
//	               Options.RememberIDs that succeeded; free again if the job died
//	Queue          seen by the handler and part of a unique key's scope;
//	               one pool works every queue
//	Priority       strict, ten levels; unset counts as 5
//	Delay, At      to the nanosecond, never early by the wall clock; one timer
//	               for all jobs
//	MaxAttempts    unset: 25
//	Backoff        unset: 1 s, doubled after each attempt up to 10 min
//	Timeout        the context of each attempt
//	Deadline       the context of each attempt; neither started nor retried later
//	Unique         one unfinished job per task, queue and key: held while the job
//	               waits, runs, is delayed or between attempts
//	Header         handed to the handler
//
//	Verdict        what becomes of the job
//	Done           over; Options.OnDone
//	Retry          waits for its backoff
//	Snoozed        waits as long as it wants; the attempt does not count
//	Dead           over; Options.OnDone, or else logged
//
// # Delivery
//
// At most once: a job that was accepted runs, is run again as it failed, and is
// lost if the process ends. Jobs of one priority start in the order of dispatch;
// a job that is delayed or run again takes its place when it is due.
//
// Handlers see nothing of the producer's context. Theirs ends with the attempt's
// Timeout, the job's Deadline, and when the context given to Stop has ended.
// Panics and runtime.Goexit are failures of the attempt.
//
// # Errors
//
//   - core.ErrNoHandler (Rejected): nobody here can run the task. It is told at
//     dispatch, and nothing of the call is taken.
//   - core.ErrDuplicate: there is a job of this chosen ID or unique key. The
//     same intent again, if its ID was generated and it has no unique key, is
//     Accepted and no second job.
//   - The context's error (NotSent): no room until ctx ended. The intents before
//     are Accepted. With Options.RefuseWhenFull it is core.ErrUnavailable at
//     once, for every intent of the call.
//   - core.ErrClosed (NotSent): the pool has been stopped.
//   - [*StopError], from Stop: jobs that were accepted are not over.
//   - core.ErrInvalid, core.ErrUnsupported: as everywhere, see core.Guard.
//
// No outcome is Unknown or Failed.
//
// # Concurrency
//
// Everything is safe for concurrent use. At most Options.Workers jobs run at a
// time, each on a goroutine that runs one job after the other and ends when none
// is due: an idle pool has no goroutine, and a timer only while jobs are delayed.
// Handlers may call Execute with the context they were given, also when the pool
// is full. A job that calls it with another context, or waits for another job,
// takes a worker away meanwhile: enough of them stand still for ever.
//
// # Refused
//
// Native options of other executors. The pool has none of its own.
package poolexec
