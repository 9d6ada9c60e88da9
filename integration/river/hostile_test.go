package river_test

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/goairlock/airlock/core"
	riverexec "github.com/goairlock/airlock/executors/river"
	"github.com/goairlock/airlock/worker"
)

var hostile = []string{
	`{"airlock":null}`, `{"airlock":1}`, `{"airlock":[]}`, `{"airlock":{}}`, `{"airlock":"x"}`, `{"airlock":{"v":"1"}}`, `{"airlock":{"v":1,"id":7}}`,
	`{"airlock":{"v":1,"timeout":"-1s"}}`, `{"airlock":{"v":1,"headers":[]}}`, `{"airlock":{"v":1},"airlock_wrap":1}`, `{"airlock":{"v":1},"airlock_wrap":"rot13"}`,
	`{"airlock":{"v":1},"airlock_wrap":"base64"}`, `{"airlock_wrap":"base64"}`, `{"airlock":{"v":99}}`, `{"airlock":{"v":99},"snoozes":"many"}`,
}

func hostileJobs[TTx any](w *testEnv[TTx]) {
	var params []river.InsertManyParams
	for range 3 {
		for _, metadata := range hostile {
			params = append(params, river.InsertManyParams{Args: anyArgs{raw.Name(), []byte(`{"n":1}`)}, InsertOpts: &river.InsertOpts{Metadata: []byte(metadata), Priority: 1}})
		}
		for _, args := range []string{`[]`, `[7]`, `{"x":[]}`, `[[]]`} {
			params = append(params, river.InsertManyParams{Args: anyArgs{stranger.Name(), []byte(args)}, InsertOpts: &river.InsertOpts{Priority: 1}})
		}
	}
	_, err := w.client.InsertMany(w.Context(), params)
	must(w, err)
	w.send(w.intent(`"last"`, core.Priority(1)))
	log, lines := newJournal()
	w.run(w.registry(worker.Handle(raw, w.note)), &riverexec.WorkerOptions{Logger: log, Concurrency: 2, ParkFor: time.Hour})
	if r := w.await(1)[0]; r.payload != `"last"` {
		w.Errorf("ran %s", r.payload)
	}
	w.until("all are out of the way", func() bool {
		dead, parked, waiting := 0, 0, 0
		for _, row := range w.rows() {
			switch {
			case row.State == rivertype.JobStateCancelled:
				dead++
			case row.State == rivertype.JobStateScheduled && row.Attempt == 0:
				parked++
			case row.Kind == stranger.Name() && row.State == rivertype.JobStateAvailable && row.Attempt == 0:
				waiting++
			}
		}
		return dead == 3*13 && parked == 3*2 && waiting == 3*4
	})
	if n := lines.count("level=ERROR msg=\"airlock: job dead\""); n != 3*13 {
		w.Errorf("%d jobs are logged as dead", n)
	}
}

func hostileError[TTx any](w *testEnv[TTx]) {
	w.run(w.registry(worker.Handle(raw, w.noting(func(_ context.Context, job worker.Job) error {
		if job.Headers.Has("Fail") {
			return errors.New("a NUL \x00, \xff, and postgres://app:hunter2@db/x")
		}
		return nil
	}))), nil)
	w.send(w.intent("1", core.MaxAttempts(1), core.Header("Fail", "")), w.intent("2"), w.intent("3", core.MaxAttempts(3), core.Header("Fail", ""), core.Backoff(core.Fixed(time.Hour))))
	w.until("all are answered", func() bool {
		rows := w.wantRows(3)
		return rows[0].State == rivertype.JobStateDiscarded && rows[1].State == rivertype.JobStateCompleted && rows[2].State == rivertype.JobStateRetryable
	})
	if text := w.wantRows(3)[0].Errors[0].Error; strings.Contains(text, "hunter2") || !strings.Contains(text, "a NUL") {
		w.Errorf("%q", text)
	}
}
