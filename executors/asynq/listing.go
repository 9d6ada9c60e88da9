package asynqexec

import (
	"context"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/inspect"
)

// List returns a page of the jobs of a queue and its lanes. Waiting and running jobs
// have no order on their way from one page to the next.
func (i *Inspector) List(ctx context.Context, q inspect.Query) (inspect.Page, error) {
	q, err := q.Checked()
	if err != nil {
		return inspect.Page{}, err
	}
	lanes, err := i.lanes(ctx, q.Queue)
	if err != nil {
		return inspect.Page{}, err
	}
	if q.State == inspect.Parked {
		return inspect.Page{}, &inspect.UnsupportedError{Executor: name, Action: "list parked jobs",
			Reason: "asynq stores them like other delayed jobs: list those"}
	}
	pages := adapter.Pages{Read: i.reader(ctx), First: i.first(ctx)}
	laneOf := map[string]string{}
	for _, lane := range lanes {
		sets, err := i.sets(ctx, lane, q.State)
		if err != nil {
			return inspect.Page{}, i.failed(ctx, err)
		}
		for _, set := range sets {
			laneOf[set] = lane
			pages.Sets = append(pages.Sets, set)
		}
	}
	slices.Sort(pages.Sets)
	var page inspect.Page
	page.Next, err = i.fill(ctx, pages, laneOf, q, &page.Jobs)
	if err != nil {
		return inspect.Page{}, i.failed(ctx, err)
	}
	return page, nil
}

// fill reads one page. With a task it looks at as many jobs as a page may have at
// the most, so that a call stays short.
func (i *Inspector) fill(ctx context.Context, pages adapter.Pages, laneOf map[string]string, q inspect.Query, jobs *[]inspect.Job) (next string, err error) {
	limit := q.Limit
	if q.Task != "" {
		limit = inspect.MaxLimit
	}
	type found struct {
		lane string
		m    adapter.Member
	}
	var members []found
	next, err = pages.Next(q.Cursor, limit, func(set string, m adapter.Member) bool {
		members = append(members, found{laneOf[set], m})
		return true
	})
	if err != nil || len(members) == 0 {
		return next, err
	}
	pipe := i.rdb.Pipeline()
	stored := make([]*redis.SliceCmd, len(members))
	for n, f := range members {
		stored[n] = pipe.HMGet(ctx, taskKey(f.lane, f.m.Text), taskFields...)
	}
	if _, err := pipe.Exec(ctx); err != nil && !isReply(err) {
		return "", err
	}
	for n, f := range members {
		t, ok := newStoredTask(f.lane, f.m.Text, stored[n])
		if !ok || t.stateOf() != q.State { // it has changed since
			continue
		}
		t.score = f.m.Score
		if job := i.jobOf(t); q.Task == "" || job.Task == q.Task {
			*jobs = append(*jobs, job)
		}
		if len(*jobs) == q.Limit && n+1 < len(members) { // the next page begins here
			return pages.Next(q.Cursor, n+1, func(string, adapter.Member) bool { return true })
		}
	}
	return next, nil
}

// sets returns the keys of the jobs of a lane in a state.
func (i *Inspector) sets(ctx context.Context, lane string, state inspect.State) ([]string, error) {
	switch state {
	case inspect.Waiting:
		return []string{queueKey(lane, "pending")}, nil
	case inspect.Running:
		return []string{queueKey(lane, "active")}, nil
	case inspect.Dead:
		return []string{queueKey(lane, "archived")}, nil
	case inspect.Done:
		return []string{queueKey(lane, "completed")}, nil
	}
	groups, err := i.groups(ctx, lane)
	return append(groups, queueKey(lane, "scheduled"), queueKey(lane, "retry")), err
}

// groups returns the keys of the groups in which jobs wait to be aggregated.
func (i *Inspector) groups(ctx context.Context, lane string) ([]string, error) {
	groups, err := i.rdb.SMembers(ctx, queueKey(lane, "groups")).Result()
	for n, group := range groups {
		groups[n] = queueKey(lane, "g:"+group)
	}
	return groups, err
}

// reader reads a list from its end, where the oldest are, or a sorted set.
func (i *Inspector) reader(ctx context.Context) func(string, int64, int) ([]adapter.Member, error) {
	return func(set string, from int64, n int) ([]adapter.Member, error) {
		if isList(set) {
			ids, err := i.rdb.LRange(ctx, set, -from-int64(n), -from-1).Result()
			members := make([]adapter.Member, 0, len(ids))
			for _, id := range slices.Backward(ids) {
				members = append(members, adapter.Member{Text: id})
			}
			return members, err
		}
		ids, err := i.rdb.ZRangeWithScores(ctx, set, from, from+int64(n)-1).Result()
		members := make([]adapter.Member, 0, len(ids))
		for _, z := range ids {
			id, _ := z.Member.(string)
			members = append(members, adapter.Member{Text: id, Score: strconv.FormatFloat(z.Score, 'f', -1, 64)})
		}
		return members, err
	}
}

func (i *Inspector) first(ctx context.Context) func(string, string) (int64, error) {
	return func(set, score string) (int64, error) {
		return i.rdb.ZCount(ctx, set, "-inf", "("+score).Result()
	}
}

// isList reports whether a key is that of a list.
func isList(set string) bool {
	return len(set) > 7 && (set[len(set)-8:] == ":pending" || set[len(set)-7:] == ":active")
}
