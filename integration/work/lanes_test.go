package work_test

import (
	"fmt"
	"slices"

	"github.com/gocraft/work"

	"github.com/goairlock/airlock/core"
)

func lanesRank(w *world) {
	const each = 60
	var intents []core.Intent
	for range each {
		for _, p := range []int{1, 3, 5, 8, 10} {
			intents = append(intents, w.intent(fmt.Sprint(p), core.Priority(p)))
		}
		intents = append(intents, w.intent("unset"))
	}
	w.must(w.exec.Execute(w.ctx, intents...))
	queues, err := work.NewClient(w.ns, w.rdb).Queues()
	w.must(err)
	var names []string
	for _, q := range queues {
		names = append(names, fmt.Sprint(q.JobName, " ", q.Count))
	}
	if !slices.Equal(names, []string{"test.work 120", "test.work!high 120", "test.work!low 120"}) {
		w.Errorf("queues %v", names)
	}
	w.serveOn(w.pool("", 1), w.registry(succeed))
	lane := map[string]string{"1": "low", "3": "low", "5": "", "unset": "", "8": "high", "10": "high"}
	rank := map[string]int{}
	for i, r := range w.await(len(intents)) {
		rank[lane[r.arg]] += i
		if r.job.Queue != "default" || r.job.Task != "test.work" {
			w.Fatalf("a job is told that it is %+v", r.job)
		}
	}
	if rank["high"] >= rank[""] || rank[""] >= rank["low"] {
		w.Errorf("sums of ranks: %v", rank)
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
	if n := len(w.jobs(w.ns)); n != 4 {
		w.Errorf("%d jobs are stored, want 4", n)
	}
}
