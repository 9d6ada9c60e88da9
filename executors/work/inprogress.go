package workexec

import (
	"context"
	"sync"

	"github.com/gomodule/redigo/redis"
)

// list is where the jobs of one name in one namespace wait.
type list struct {
	queue  string
	prefix string // of the namespace
	name   string // the jobs'
	weight int    // its share of the starts

	owner     string // the worker's; "" in a list that it takes no jobs from
	fetchKeys []any  // of fetchLua, for the owner
}

func newList(queue, prefix string, lane lane, owner string) *list {
	l := &list{queue: queue, prefix: prefix, name: lane.name, weight: lane.weight, owner: owner}
	l.fetchKeys = []any{l.key(), l.inProgress(owner), l.key() + ":paused", l.lock(), l.lockInfo(), l.key() + ":max_concurrency"}
	return l
}

func (l *list) key() string      { return l.prefix + "jobs:" + l.name }
func (l *list) lock() string     { return l.key() + ":lock" }
func (l *list) lockInfo() string { return l.key() + ":lock_info" }

// inProgress is the key of the list of jobs that an owner has in progress.
func (l *list) inProgress(owner string) string { return l.key() + ":" + owner + ":inprogress" }

// ownerSuffix makes the owner of our in-progress lists out of a pool's ID. They are not
// those of the pool itself, so that the reapers of the library's pools, which count no
// attempts, never find them.
const ownerSuffix = "-airlock"

// fetchedJobs knows the jobs that this worker has in progress.
type fetchedJobs struct {
	// fetching is locked for reading from the moment at which Redis is asked for a job
	// until the job is noted, and for writing while the lists in Redis are compared
	// with what is noted.
	fetching sync.RWMutex

	mu   sync.Mutex
	jobs map[jobKey]int // guarded by mu
}

type jobKey struct {
	list *list
	text string
}

func (i *fetchedJobs) add(l *list, text string, n int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	key := jobKey{l, text}
	if i.jobs[key] += n; i.jobs[key] == 0 {
		delete(i.jobs, key)
	}
}

func (i *fetchedJobs) count(l *list, text string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.jobs[jobKey{l, text}]
}

// putBackUnanswered puts back jobs that this worker has in progress without knowing
// it, because the answer to the fetch was lost. With all it puts back every job.
func (w *Worker) putBackUnanswered(ctx context.Context, all bool) error {
	w.fetched.fetching.Lock()
	defer w.fetched.fetching.Unlock()
	for _, l := range w.lists {
		texts, err := w.jobsInProgress(ctx, l, w.owner)
		if err != nil {
			return err
		}
		seen := map[string]int{}
		for _, text := range texts {
			if seen[text]++; all || seen[text] > w.fetched.count(l, text) {
				if err := w.takeBack(ctx, l, w.owner, text, false); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (w *Worker) jobsInProgress(ctx context.Context, l *list, owner string) ([]string, error) {
	return redis.Strings(w.do(ctx, "look for jobs in progress", func(do doer) (any, error) {
		return do("LRANGE", l.inProgress(owner), 0, -1)
	}))
}
