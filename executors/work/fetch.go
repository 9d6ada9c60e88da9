package workexec

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/gomodule/redigo/redis"
)

const (
	idleFirst = 5 * time.Millisecond // between two looks for jobs, when there are none
	idleMost  = 200 * time.Millisecond

	retryFirst = 50 * time.Millisecond // between two tries of a call that fails
	retryMost  = 2 * time.Second
)

// fetchLoop takes jobs and starts them until ctx is done.
func (w *Worker) fetchLoop(ctx context.Context) {
	idle, retry := idleFirst, retryFirst
	for {
		free := w.slots.acquire(ctx)
		if len(free) == 0 {
			return
		}
		jobs, err := w.fetch(len(free))
		for i, h := range jobs {
			w.unrecorded.add(1)
			go w.runSlot(free[i], h)
		}
		w.slots.release(free[len(jobs):]...)
		switch {
		case err != nil:
			if !sleep(ctx, retry) {
				return
			}
			retry = min(2*retry, retryMost)
		case len(jobs) > 0:
			idle, retry = idleFirst, retryFirst
		default:
			if !sleep(ctx, idle) {
				return
			}
			idle, retry = min(2*idle, idleMost), retryFirst
		}
	}
}

// runSlot runs a job, and then those that the slot gets with the records of its jobs. A
// handler may end the goroutine.
func (w *Worker) runSlot(slot int, h *held) {
	defer w.slots.release(slot)
	defer w.observations.set(slot, nil)
	for h != nil {
		w.observations.set(slot, h)
		h = w.process(h)
	}
}

// slots are the numbers of those that are free.
type slots chan int

func newSlots(n int) slots {
	s := make(slots, n)
	for slot := range n {
		s <- slot
	}
	return s
}

func (s slots) release(free ...int) {
	for _, slot := range free {
		s <- slot
	}
}

// mostFetched bounds what one script call takes.
const mostFetched = 100

// acquire waits for a free slot and takes all that are free then. It returns none if
// ctx is done.
func (s slots) acquire(ctx context.Context) (free []int) {
	select {
	case <-ctx.Done():
		return nil
	case slot := <-s:
		free = append(free, slot)
	}
	for len(free) < mostFetched {
		select {
		case slot := <-s:
			free = append(free, slot)
		default:
			return free
		}
	}
	return free
}

// sleep reports whether ctx is still alive afterwards.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// fetch moves up to n jobs into this worker's in-progress lists. It is not interrupted when the
// worker stops: what it takes could only be found again by looking.
func (w *Worker) fetch(n int) ([]*held, error) {
	if len(w.lists) == 0 {
		return nil, nil
	}
	w.fetched.fetching.RLock()
	defer w.fetched.fetching.RUnlock()
	order := shuffled(w.lists)
	args := make([]any, 2, 4+7*len(order))
	args[0], args[1] = fetchScript.hash, 6*len(order)
	for _, l := range order {
		args = append(args, l.fetchKeys...)
	}
	args = appendShares(args, order, w.owner, n)
	reply, _, err := w.evalArgs(context.Background(), "fetch jobs", fetchScript, args)
	found, err := redis.Values(reply, err)
	if err != nil {
		return nil, err
	}
	return w.fetchedOf(order, found)
}

// appendShares appends the arguments of fetchLua.
func appendShares(args []any, order []*list, owner string, n int) []any {
	sum := 0
	for _, l := range order {
		sum += l.weight
	}
	args = append(args, owner, n)
	for _, l := range order {
		args = append(args, max(1, n*l.weight/sum))
	}
	return args
}

// fetchedOf notes and reads the jobs of an answer of fetchLua. The caller has locked
// w.fetched.fetching.
func (w *Worker) fetchedOf(order []*list, found []any) (jobs []*held, err error) {
	var broken error
	for ; len(found) >= 2; found = found[2:] {
		at, isNumber := found[0].(int64)
		text, isText := found[1].([]byte)
		switch {
		case !isNumber || !isText || at < 0 || at > int64(len(order)):
			return jobs, errAnswer
		case at == 0: // a list that is of another type: the others are not to wait for it
			broken = redis.Error(text)
			continue
		}
		h := w.read(order[at-1], string(text))
		w.fetched.add(h.list, h.text, 1)
		jobs = append(jobs, h)
	}
	w.outages.note("fetch jobs of one list", broken)
	return jobs, nil
}

// shuffled returns the lists in a random order, in which a list is the earlier the
// greater its weight.
func shuffled(lists []*list) []*list {
	if len(lists) == 1 {
		return lists
	}
	type drawn struct {
		l  *list
		at float64
	}
	all := make([]drawn, len(lists))
	for i, l := range lists {
		all[i] = drawn{l, -math.Log(1-rand.Float64()) / float64(l.weight)}
	}
	slices.SortFunc(all, func(a, b drawn) int {
		if a.at < b.at {
			return -1
		}
		return 1
	})
	order := make([]*list, len(all))
	for i, d := range all {
		order[i] = d.l
	}
	return order
}

// fetchLua defines fetch(k0, a0), which does what the library's script does, for several
// jobs and for our in-progress lists. After k0 there are six KEYS for each list. After a0
// there are in ARGV the owner, how many jobs to take, and for each list how many of them
// are its share. Of each list it takes its share, and then, in the same order, what is
// left to take. The answer has two elements for each job: the number of its list and the
// message; or 0 and an error.
const fetchLua = `
local function fetch(k0, a0)
	local owner, left, lists = ARGV[a0 + 1], tonumber(ARGV[a0 + 2]), (#KEYS - k0) / 6
	local answer, broken = {}, {}

	local function number(key)
		local value = redis.pcall("GET", key)
		return type(value) == "string" and tonumber(value) or 0
	end

	local function take(i, most)
		local k = k0 + 6 * i - 5
		while most > 0 and left > 0 and not broken[i] and redis.pcall("LLEN", KEYS[k]) ~= 0 do
			local limit = number(KEYS[k + 5])
			if type(redis.pcall("GET", KEYS[k + 2])) == "string" or limit > 0 and number(KEYS[k + 3]) >= limit then
				return
			end
			local message = redis.pcall("RPOPLPUSH", KEYS[k], KEYS[k + 1])
			if type(message) ~= "string" then
				broken[i] = true
				answer[#answer + 1] = 0
				answer[#answer + 1] = message and message.err or "no message"
				return
			end
			redis.call("INCR", KEYS[k + 3])
			redis.call("HINCRBY", KEYS[k + 4], owner, 1)
			answer[#answer + 1] = i
			answer[#answer + 1] = message
			most = most - 1
			left = left - 1
		end
	end

	for i = 1, lists do
		take(i, tonumber(ARGV[a0 + 2 + i]))
	end
	for i = 1, lists do
		take(i, left)
	end
	return answer
end
`

var fetchScript = newScript(fetchLua + "return fetch(0, 0)")
