package river_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/goairlock/airlock/core"
	riverexec "github.com/goairlock/airlock/executors/river"
	"github.com/goairlock/airlock/worker"
)

func eager(after time.Duration) river.Config {
	return river.Config{JobTimeout: after, RescueStuckJobsAfter: after}
}

func stuckStranger[TTx any](w *testEnv[TTx]) {
	w.send(w.stranger(core.MaxAttempts(2)))
	w.stick()
	w.run(w.registry(worker.Handle(raw, w.note)), nil)
	w.until("the job is put back", func() bool {
		state := w.wantRows(1)[0].State
		return state == rivertype.JobStateRetryable || state == rivertype.JobStateAvailable
	})
	w.run(w.registry(worker.Handle(stranger, w.note)), nil)
	if job := w.await(1)[0].job; job.Attempt != 2 {
		w.Errorf("%+v", job)
	}
}

func lastWorkerLost[TTx any](w *testEnv[TTx]) {
	log, lines := newJournal()
	seen := new(observed)
	w.send(w.intent("1", core.MaxAttempts(1)), w.stranger(core.MaxAttempts(1)))
	_, err := w.client.Insert(w.Context(), anyArgs{"test.foreign", []byte("{}")}, &river.InsertOpts{MaxAttempts: 1}) // another program's
	must(w, err)
	w.stick()
	w.run(w.registry(worker.Handle(raw, w.note), seen.observer()), &riverexec.WorkerOptions{Logger: log})
	w.until("both are reported as dead", func() bool {
		return seen.count(raw.Name(), worker.Dead) == 1 && seen.count(stranger.Name(), worker.Dead) == 1
	})
	const reason = "airlock: river: attempts used up; the last worker never answered"
	for _, row := range w.wantRows(3) {
		if ours := row.Kind != "test.foreign"; row.State != rivertype.JobStateDiscarded || (row.Errors[0].Error == reason) != ours {
			w.Errorf("%s is %s, errors %+v", row.Kind, row.State, row.Errors)
		}
	}
	w.until("both are logged", func() bool { return lines.count("level=ERROR msg=\"airlock: job dead\"") == 2 })
	if lines.count("error=\""+reason+"\"") != 2 || seen.count("test.foreign", worker.Dead) > 0 {
		w.Errorf("log: %s", lines)
	}
	if lines.count("level=ERROR msg=\"maintenance.JobRescuer: Attempted to rescue unhandled job kind, discarding\"") != 1 { // the foreign job
		w.Errorf("log: %s", lines)
	}
	if len(w.await(0)) != 0 {
		w.Error("a job ran")
	}
}

func damagedStuck[TTx any](w *testEnv[TTx]) {
	_, err := w.client.Insert(w.Context(), nativeArgs{N: 1}, &river.InsertOpts{Metadata: []byte(`{"cancel_attempted_at":7}`)})
	must(w, err)
	w.send(w.intent("2"))
	w.stick()
	w.run(w.registry(worker.Handle(raw, w.note)), nil)
	w.until("both are rescued", func() bool {
		for _, row := range w.wantRows(2) {
			if row.State == rivertype.JobStateRunning {
				return false
			}
		}
		return true
	})
}

func longJob[TTx any](w *testEnv[TTx]) {
	const after = 600 * time.Millisecond
	release := make(chan struct{})
	reg := w.registry(worker.Handle(raw, w.noting(func(ctx context.Context, _ worker.Job) error {
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})))
	config := eager(after)
	config.LeaderElectionDisabled = true
	w.run(reg, &riverexec.WorkerOptions{Config: config})
	w.send(w.intent("1", core.Backoff(core.Fixed(time.Millisecond))))
	began := w.await(1)[0].began
	time.Sleep(time.Until(began.Add(2 * after)))
	_, err := w.client.Insert(w.Context(), nativeArgs{N: 2}, &river.InsertOpts{Queue: "elsewhere"})
	must(w, err)
	leader := eager(after)
	w.run(w.registry(worker.Handle(raw, w.note)), &riverexec.WorkerOptions{Queues: []string{"elsewhere"}, Config: leader})
	w.await(2) // a leader's rescuer starts before or soon after
	time.Sleep(after)
	if row := w.wantRows(2)[0]; row.State != rivertype.JobStateRunning || row.Attempt != 1 {
		w.Errorf("the job is %s, attempt %d", row.State, row.Attempt)
	}
	close(release)
	w.until("the job is completed", func() bool { return w.wantRows(2)[0].State == rivertype.JobStateCompleted })
	if len(w.await(0)) != 2 {
		w.Errorf("%d runs, want one of each job", len(w.await(0)))
	}
}

func staleOwner[TTx any](w *testEnv[TTx]) {
	for name, answer := range map[string]error{
		"nil": nil, "an error": errors.New("no luck"), "Permanent": worker.Permanent(errors.New("no")), "Snooze": worker.Snooze(time.Millisecond),
	} {
		log, lines := newJournal()
		first, second := make(chan struct{}), make(chan struct{})
		var ran atomic.Int32
		handler := worker.Handle(raw, func(context.Context, []byte) error {
			if ran.Add(1) == 1 {
				<-first
				return answer
			}
			<-second
			return nil
		})
		config := eager(3 * time.Second)
		config.Middleware = []rivertype.Middleware{river.WorkerMiddlewareFunc(wrapErrors)}
		stopFirst := w.run(w.registry(handler), &riverexec.WorkerOptions{Logger: log, Concurrency: 1, Config: config})
		in := w.intent("1", core.MaxAttempts(3))
		w.send(in)
		w.until("the first worker has the job", func() bool { return ran.Load() == 1 })
		rows := w.rows()
		id := rows[len(rows)-1].ID
		w.update(fmt.Sprintf("state = 'available' WHERE id = %d", id)) // as a rescuer does
		stopSecond := w.run(w.registry(handler), &riverexec.WorkerOptions{Concurrency: 1, Config: eager(3 * time.Second)})
		w.until("the second worker has it", func() bool { return ran.Load() == 2 })
		time.Sleep(1100 * time.Millisecond) // longer than a run whose answer counts at once
		close(first)
		w.until("the first worker's answer is discarded: "+name, func() bool {
			return lines.count("level=WARN msg=\"airlock: job lost to another worker, answer discarded\"") == 1
		})
		must(w, stopFirst())
		row, err := w.client.JobGet(w.Context(), id)
		must(w, err)
		if row.State != rivertype.JobStateRunning || row.Attempt != 2 || len(row.Errors) != 0 {
			w.Errorf("after %s of the first worker the job is %s, attempt %d, errors %+v", name, row.State, row.Attempt, row.Errors)
		}
		close(second)
		w.until("the second worker's answer counts", func() bool {
			row, err := w.client.JobGet(w.Context(), id)
			must(w, err)
			return row.State == rivertype.JobStateCompleted
		})
		must(w, stopSecond())
		if ran.Load() != 2 {
			w.Errorf("%s: %d runs", name, ran.Load())
		}
	}
}

func wrapErrors(ctx context.Context, _ *rivertype.JobRow, next func(context.Context) error) error {
	if err := next(ctx); err != nil {
		return fmt.Errorf("wrapped: %w", err)
	}
	return nil
}

func (w *testEnv[TTx]) completing(ctx context.Context) error {
	tx, err := w.store.begin(ctx)
	if err != nil {
		return err
	}
	err = w.store.exec(ctx, tx, "INSERT INTO orders VALUES (1)")
	if err == nil {
		err = riverexec.CompleteTx(ctx, tx)
	}
	if err != nil {
		return errors.Join(err, w.store.rollback(ctx, tx))
	}
	return w.store.commit(ctx, tx)
}

func completeTx[TTx any](w *testEnv[TTx]) {
	w.table()
	log, lines := newJournal()
	w.run(w.registry(worker.Handle(raw, w.noting(func(ctx context.Context, _ worker.Job) error {
		if err := w.completing(ctx); err != nil {
			return worker.Permanent(err)
		}
		if row := w.wantRows(1)[0]; row.State != rivertype.JobStateCompleted {
			w.Errorf("after COMMIT the job is %s", row.State)
		}
		time.Sleep(1100 * time.Millisecond) // so that the worker asks
		return nil
	}))), &riverexec.WorkerOptions{Logger: log})
	w.send(w.intent("1"))
	w.until("the handler's answer is logged", func() bool { return lines.count("airlock: job done") == 1 })
	w.awaitState(rivertype.JobStateCompleted)
	if w.orders() != 1 || lines.count("level=WARN") != 0 {
		w.Errorf("%d orders, log: %v", w.orders(), lines)
	}
}

func staleCompleteTx[TTx any](w *testEnv[TTx]) {
	w.table()
	failed := make(chan error, 1)
	w.run(w.registry(worker.Handle(raw, w.noting(func(ctx context.Context, j worker.Job) error {
		w.update(fmt.Sprintf("attempt = %d", j.Attempt+1)) // another worker has it; on a busy machine this run is another one's too
		err := w.completing(context.WithoutCancel(ctx))    // the worker may have noticed, and ended ctx
		select {
		case failed <- err:
		default:
		}
		return err
	}))), &riverexec.WorkerOptions{Config: eager(20 * time.Millisecond)})
	w.send(w.intent("1"))
	if err := <-failed; err == nil || !strings.Contains(err.Error(), "another worker has this job") {
		w.Errorf("%v", err)
	}
	if w.orders() != 0 {
		w.Error("the order is there")
	}
}

func (w *testEnv[TTx]) stick() {
	w.Helper()
	long := "now() - interval '3 hours'"
	if !w.store.postgres {
		long = "strftime('%Y-%m-%d %H:%M:%f', 'now', '-3 hours')"
	}
	tx, err := w.store.begin(w.Context())
	must(w, err)
	must(w, w.store.exec(w.Context(), tx, "UPDATE river_job SET state = 'running', attempt = 1, attempted_at = "+long))
	must(w, w.store.commit(w.Context(), tx))
}

func rescued[TTx any](w *testEnv[TTx]) {
	w.send(w.intent("1", core.Backoff(core.Fixed(time.Hour))))
	w.stick()
	w.handle(w.note)
	w.awaitState(rivertype.JobStateRetryable)
}

func rescuedByStranger[TTx any](w *testEnv[TTx]) {
	w.send(w.intent("1"))
	w.stick()
	stranger := core.DeclareTask[[]byte]("test.stranger").Codec(core.Raw)
	w.work(w.config(w.registry(worker.Handle(stranger, w.note))))
	w.awaitState(rivertype.JobStateDiscarded)
}
