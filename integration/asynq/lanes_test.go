package asynq_test

import (
	"slices"

	"github.com/hibiken/asynq"

	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
	"github.com/goairlock/airlock/integration/trial"
)

func lanesRank(w *world) {
	var intents []core.Intent
	for range 30 {
		for _, p := range []int{1, 3, 5, 8, 10} {
			intents = append(intents, w.Intent(string(rune('a'+p)), core.Priority(p)))
		}
		intents = append(intents, w.Intent("unset"))
	}
	w.Must(w.exec.Execute(w.Ctx, intents...))
	w.serveWith(asynqexec.Handler(w.Registry(trial.Succeed)), asynq.Config{Concurrency: 1, StrictPriority: true, Queues: asynqexec.Lanes(nil)})
	lane := map[string]int{"b": 0, "d": 0, "f": 1, "unset": 1, "i": 2, "k": 2}
	runs := w.Await(len(intents))
	if !slices.IsSortedFunc(runs, func(a, b trial.Run) int { return lane[b.Arg] - lane[a.Arg] }) {
		w.Error("a job of a lower lane started before one of a higher lane")
	}
	for _, r := range runs {
		if r.Job.Queue != "default" {
			w.Fatalf("a job is told that its queue is %s", r.Job.Queue)
		}
	}
}

func idsAcrossLanes(w *world) {
	trial.MarksCountAcrossLanes(w.Trial)
	total := 0
	for _, queue := range []string{"default", "default}high", "default}low"} {
		total += len(w.pending(queue))
	}
	if total != 4 {
		w.Errorf("%d jobs are stored, want 4", total)
	}
}
