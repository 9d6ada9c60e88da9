package asynq_test

import (
	"slices"

	"github.com/hibiken/asynq"

	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
)

func lanesRank(w *world) {
	var intents []core.Intent
	for range 30 {
		for _, p := range []int{1, 3, 5, 8, 10} {
			intents = append(intents, w.intent(string(rune('a'+p)), core.Priority(p)))
		}
		intents = append(intents, w.intent("unset"))
	}
	w.must(w.exec.Execute(w.ctx, intents...))
	w.serveWith(asynqexec.Handler(w.registry(succeed)), asynq.Config{Concurrency: 1, StrictPriority: true, Queues: asynqexec.Lanes(nil)})
	lane := map[string]int{"b": 0, "d": 0, "f": 1, "unset": 1, "i": 2, "k": 2}
	runs := w.await(len(intents))
	if !slices.IsSortedFunc(runs, func(a, b run) int { return lane[b.arg] - lane[a.arg] }) {
		w.Error("a job of a lower lane started before one of a higher lane")
	}
	for _, r := range runs {
		if r.job.Queue != "default" {
			w.Fatalf("a job is told that its queue is %s", r.job.Queue)
		}
	}
}

func idsAcrossLanes(w *world) {
	for _, in := range []core.Intent{w.intent("a", core.Priority(9)), w.intent("b"), w.intent("c", core.Priority(1), core.ID("x"))} {
		w.want("accepted", in)
		for _, p := range []int{1, 5, 10} {
			again, err := in.With(core.Priority(p))
			w.must(err)
			if in.ChosenID() {
				w.want("duplicate", again)
				w.want("duplicate, duplicate", again, in)
			} else {
				w.want("accepted", again)
				w.want("accepted, accepted", again, in)
			}
		}
	}
	w.want("accepted", w.intent("d", core.Unique("k"), core.Priority(10)))
	w.want("duplicate, duplicate, duplicate", w.intent("d", core.Unique("k"), core.Priority(1)),
		w.intent("d", core.Unique("k")), w.intent("d", core.Unique("k"), core.Priority(10)))
	total := 0
	for _, queue := range []string{"default", "default}high", "default}low"} {
		total += len(w.pending(queue))
	}
	if total != 4 {
		w.Errorf("%d jobs are stored, want 4", total)
	}
}
