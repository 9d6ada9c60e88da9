package work_test

import (
	"fmt"
	"slices"

	"github.com/gocraft/work"

	"github.com/goairlock/airlock/core"
	workexec "github.com/goairlock/airlock/executors/work"
	"github.com/goairlock/airlock/integration/trial"
)

func lanesRank(w *testEnv) {
	const each = 60
	var intents []core.Intent
	for range each {
		for _, p := range []int{1, 3, 5, 8, 10} {
			intents = append(intents, w.Intent(fmt.Sprint(p), core.Priority(p)))
		}
		intents = append(intents, w.Intent("unset"))
	}
	w.Must(w.exec.Execute(w.Ctx, intents...))
	queues, err := work.NewClient(w.ns, w.rdb).Queues()
	w.Must(err)
	var names []string
	for _, q := range queues {
		names = append(names, fmt.Sprint(q.JobName, " ", q.Count))
	}
	if !slices.Equal(names, []string{"test.work 120", "test.work!high 120", "test.work!low 120"}) {
		w.Errorf("queues %v", names)
	}
	w.serveWith(w.Registry(trial.Succeed), workexec.WorkerOptions{Concurrency: 1})
	lane := map[string]string{"1": "low", "3": "low", "5": "", "unset": "", "8": "high", "10": "high"}
	rank := map[string]int{}
	for i, r := range w.Await(len(intents)) {
		rank[lane[r.Arg]] += i
		if r.Job.Queue != "default" || r.Job.Task != "test.work" {
			w.Fatalf("a job is %+v", r.Job)
		}
	}
	if rank["high"] >= rank[""] || rank[""] >= rank["low"] {
		w.Errorf("sums of ranks: %v", rank)
	}
}

func idsAcrossLanes(w *testEnv) {
	trial.MarksCountAcrossLanes(w.Trial)
	if n := len(w.jobs(w.ns)); n != 4 {
		w.Errorf("%d jobs are stored, want 4", n)
	}
}
