package inspect_test

import (
	"testing"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/inspect"
)

// TestALargeQueueIsReadPageByPage lists jobs that are due at the same time, and discards some between two pages: no other is
// missed. miniredis is slow with long sorted sets, and NATS has a request for each job: 100 000 are on a real server.
func TestALargeQueueIsReadPageByPage(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		jobs int
		open open
	}{
		"asynq": {2_000, func(t *testing.T) system { return onAsynq(t, miniRedis(t), false) }},
		"work":  {2_000, func(t *testing.T) system { return onWork(t, miniRedis(t)) }},
		"river": {20_000, openSQLite},
		"nats":  {2_000, onNATS},
		"pool":  {20_000, onPool},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			large(t, tc.open(t), tc.jobs)
		})
	}
}

func large(t *testing.T, s system, jobs int) {
	limit := min(900, jobs/20)
	e := newEnv(t, s)
	intents := make([]core.Intent, jobs)
	missing := make(map[string]bool, jobs)
	due := time.Now().Add(time.Hour)
	for n := range intents {
		in, err := tasks[0].Intent("x", core.Queue(e.queue), core.At(due))
		must(t, err)
		intents[n], missing[in.ID] = in, true
	}
	must(t, e.exec(e.ctx, intents...))
	e.wantCounts(0, int64(jobs), 0, 0)
	q := inspect.Query{Queue: e.queue, State: inspect.Delayed, Limit: limit}
	pages, discarded := 0, 0
	for {
		page, err := e.inspect.List(e.ctx, q)
		must(t, err)
		if len(page.Jobs) > limit {
			t.Fatalf("a page of %d jobs, want at most %d", len(page.Jobs), limit)
		}
		for n, job := range page.Jobs {
			delete(missing, job.ID)
			// The last of a page, by which the next one is found, and one more. Of one page all.
			if pages%5 == 1 && (n == len(page.Jobs)-1 || n == 7) || pages == 0 && jobs < 20_000 {
				must(t, e.inspect.Discard(e.ctx, e.queue, job.ID))
				discarded++
			}
		}
		pages++
		if pages > 5*jobs/limit {
			t.Fatalf("there is no end of pages")
		}
		if page.Next == "" {
			break
		}
		q.Cursor = page.Next
	}
	if len(missing) > 0 {
		t.Errorf("%d of %d jobs were not listed on %d pages", len(missing), jobs, pages)
	}
	e.wantCounts(0, int64(jobs-discarded), 0, 0)
}
