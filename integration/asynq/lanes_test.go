package asynq_test

import (
	"slices"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
	"github.com/goairlock/airlock/integration/trial"
)

func lanesRank(w *testEnv) {
	var intents []core.Intent
	for range 30 {
		for _, p := range []int{1, 3, 5, 8, 10} {
			intents = append(intents, w.Intent(string(rune('a'+p)), core.Priority(p)))
		}
		intents = append(intents, w.Intent("unset"))
	}
	w.Must(w.exec.Execute(w.Ctx, intents...))
	w.run(w.Registry(trial.Succeed), &asynqexec.WorkerOptions{Concurrency: 1, Lanes: true, Config: asynq.Config{StrictPriority: true}})
	lane := map[string]int{"b": 0, "d": 0, "f": 1, "unset": 1, "i": 2, "k": 2}
	runs := w.Await(len(intents))
	if !slices.IsSortedFunc(runs, func(a, b trial.Run) int { return lane[b.Arg] - lane[a.Arg] }) {
		w.Error("a job of a lower lane started before one of a higher lane")
	}
	for _, r := range runs {
		if r.Job.Queue != "default" {
			w.Fatalf("a job's queue is %s", r.Job.Queue)
		}
	}
}

func idsAcrossLanes(w *testEnv) {
	trial.MarksCountAcrossLanes(w.Trial)
	total := 0
	for _, queue := range []string{"default", "default}high", "default}low"} {
		total += len(w.pending(queue))
	}
	if total != 4 {
		w.Errorf("%d jobs are stored, want 4", total)
	}
}

func TestJobsInLanesThatNobodyWorksAreReported(t *testing.T) {
	t.Parallel()
	const warning = "jobs wait in lanes that no server works"
	for name, tc := range map[string]struct {
		priority core.Option
		served   bool
		want     int
	}{
		"lanes on one side":         {core.Priority(9), false, 1},
		"no job in a lane":          {core.Priority(5), false, 0},
		"another server works them": {core.Priority(9), true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, &asynqexec.Options{Lanes: true}, func(w *testEnv) {
				if tc.served { // and is paused, so that the job stays
					w.Must(w.inspector().PauseQueue("default}high"))
					o := slowWorker
					o.Lanes = true
					w.runOn(w.connect(), w.Registry(trial.Succeed), &o)
					time.Sleep(10 * time.Second)
				}
				w.Want("accepted", w.Intent("", tc.priority))
				var log logged
				o := slowWorker
				o.Logger = log.logger()
				w.runOn(w.connect(), w.Registry(trial.Succeed), &o)
				time.Sleep(10 * time.Minute)
				if n := log.lines("WARN", warning); n != tc.want {
					t.Errorf("%d warnings: %s", n, log.String())
				}
			})
		})
	}
}
