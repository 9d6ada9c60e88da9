package workexec

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/inspect"
)

// InspectorOptions tune an [Inspector]. The zero value works.
type InspectorOptions struct {
	// Namespace and QueueNames are those of the executor's [Options].
	Namespace  string
	QueueNames map[string]string
}

// Inspector looks at the namespaces of gocraft/work and acts on their jobs. It is made
// by [NewInspector] and is an [inspect.Inspector].
//
// A task and its lanes are one task here. The states are
//
//	Waiting  in the list of its name; also jobs of a task that no worker knows
//	Delayed  scheduled and retry; also jobs with an envelope of a later version
//	Running  in progress at a worker
//	Dead     dead, kept until an operator removes them
//	Done     not kept
//	Parked   unknown
//
// Redis has no index of IDs, so Get, Retry and Discard look through all jobs of the
// queue until they find theirs. If there are several jobs with one ID, after its window
// was over, they take the first. The ID of a retried job is remembered no longer than
// before.
type Inspector struct {
	backend backend
	spaces  namespaces
}

var _ inspect.Inspector = (*Inspector)(nil)

// NewInspector returns an inspector on the caller's pool of connections. It does no
// I/O. Nil opts are the zero [InspectorOptions]. A nil pool and bad options are
// [core.ErrInvalid].
func NewInspector(pool *redis.Pool, opts *InspectorOptions) (*Inspector, error) {
	if pool == nil {
		return nil, invalid("nil redis pool")
	}
	if opts == nil {
		opts = &InspectorOptions{}
	}
	spaces, err := newNamespaces(opts.Namespace, opts.QueueNames)
	if err != nil {
		return nil, err
	}
	return &Inspector{newBackend(pool), spaces}, nil
}

// Queues returns the queues that have had a job or a worker. Redis has no list of them,
// so the call goes through the names of all keys.
func (i *Inspector) Queues(ctx context.Context) ([]string, error) {
	if err := i.check(ctx); err != nil {
		return nil, err
	}
	const key = "known_jobs"
	var queues []string
	add := func(queue string) error {
		n, err := redis.Int(i.do(ctx, "EXISTS", i.spaces.of(queue)+key))
		if err == nil && n == 1 {
			queues = append(queues, queue)
		}
		return err
	}
	named := []string{defaultQueue}
	for queue := range i.spaces.native {
		named = append(named, queue)
	}
	slices.Sort(named)
	for _, queue := range slices.Compact(named) {
		if err := add(queue); err != nil {
			return nil, err
		}
	}
	prefix := strings.TrimSuffix(i.spaces.base, ":") + queueInfix
	for cursor := "0"; ; {
		page, err := redis.Values(i.do(ctx, "SCAN", cursor, "MATCH", escapeGlob(prefix)+"*:"+key, "COUNT", 1000))
		if err != nil {
			return nil, err
		}
		var keys []string
		if _, err := redis.Scan(page, &cursor, &keys); err != nil {
			return nil, errAnswer
		}
		for _, found := range keys {
			queue := strings.TrimSuffix(strings.TrimPrefix(found, prefix), ":"+key)
			if _, renamed := i.spaces.native[queue]; !renamed && validQueue(queue) == nil {
				queues = append(queues, queue)
			}
		}
		if cursor == "0" {
			slices.Sort(queues)
			return slices.Compact(queues), nil
		}
	}
}

func escapeGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(s)
}

// Depth counts the jobs of a queue. The age of the oldest one is the time since it was
// enqueued. A queue is paused if each of its tasks is.
func (i *Inspector) Depth(ctx context.Context, queue string) (inspect.Depth, error) {
	s, err := i.space(ctx, queue)
	if err != nil {
		return inspect.Depth{}, err
	}
	reply, err := i.eval(ctx, depthScript, []string{s.prefix + "known_jobs"}, s.prefix, ownerSuffix)
	values, err := redis.Values(reply, err)
	if err != nil {
		return inspect.Depth{}, err
	}
	var waiting, running, delayed, dead, names, paused int64
	var next []string
	if _, err := redis.Scan(values, &waiting, &running, &delayed, &dead, &names, &paused, &next); err != nil {
		return inspect.Depth{}, errAnswer
	}
	d := inspect.Depth{
		Queue: s.queue, Waiting: inspect.CountOf(waiting), Delayed: inspect.CountOf(delayed),
		Running: inspect.CountOf(running), Dead: inspect.CountOf(dead), Oldest: inspect.AgeOf(0), Paused: names > 0 && names == paused,
	}
	for _, text := range next {
		var m message
		sofar, known := d.Oldest.Known()
		switch {
		case json.Unmarshal([]byte(text), &m) != nil || m.T <= 0:
			d.Oldest = inspect.Age{}
		case known:
			d.Oldest = inspect.AgeOf(max(sofar, time.Since(time.Unix(m.T, 0))))
		}
	}
	return d, nil
}

// inProgressLua defines inProgress(ns, name), the keys of the lists of jobs in progress.
const inProgressLua = `
local function inProgress(ns, name, suffix)
	local list, owners, keys = ns .. "jobs:" .. name, {}, {}
	for _, pool in ipairs(redis.call("SMEMBERS", ns .. "worker_pools")) do
		owners[pool] = true
		owners[pool .. suffix] = true
	end
	local counts = redis.pcall("HKEYS", list .. ":lock_info")
	for _, owner in ipairs(counts.err and {} or counts) do
		owners[owner] = true
	end
	for owner in pairs(owners) do
		keys[#keys + 1] = list .. ":" .. owner .. ":inprogress"
	end
	return keys
end
`

// depthScript counts. KEYS: the known names. ARGV: the namespace's prefix, the suffix
// of our owners. The answer: how many wait, run, are delayed and dead; how many names
// there are and are paused; the next message of each list.
var depthScript = newScript(inProgressLua + `
local ns = ARGV[1]
local waiting, running, paused, next = 0, 0, 0, {}
local names = redis.call("SMEMBERS", KEYS[1])
for _, name in ipairs(names) do
	local list = ns .. "jobs:" .. name
	local n = redis.pcall("LLEN", list)
	if type(n) == "number" and n > 0 then
		waiting = waiting + n
		next[#next + 1] = redis.call("LINDEX", list, -1)
	end
	for _, key in ipairs(inProgress(ns, name, ARGV[2])) do
		running = running + redis.call("LLEN", key)
	end
	paused = paused + redis.call("EXISTS", list .. ":paused")
end
local delayed = redis.call("ZCARD", ns .. "scheduled") + redis.call("ZCARD", ns .. "retry")
return {waiting, running, delayed, redis.call("ZCARD", ns .. "dead"), #names, paused, next}
`)

var inProgressScript = newScript(inProgressLua + `
local keys = {}
for _, name in ipairs(redis.call("SMEMBERS", KEYS[1])) do
	for _, key in ipairs(inProgress(ARGV[1], name, ARGV[2])) do
		keys[#keys + 1] = key
	end
end
return keys
`)

// space returns the namespace of a queue that there is.
func (i *Inspector) space(ctx context.Context, queue string) (space, error) {
	if err := i.check(ctx); err != nil {
		return space{}, err
	}
	if queue == "" {
		queue = defaultQueue
	}
	if err := validQueue(queue); err != nil {
		return space{}, err
	}
	s := space{queue: queue, prefix: i.spaces.of(queue)}
	n, err := redis.Int(i.do(ctx, "EXISTS", s.prefix+"known_jobs", s.prefix+"dead", s.prefix+"retry", s.prefix+"scheduled"))
	switch {
	case err != nil:
		return space{}, err
	case n == 0:
		return space{}, fmt.Errorf("airlock: work: queue %q: %w", queue, inspect.ErrNotFound)
	}
	return s, nil
}

func (i *Inspector) check(ctx context.Context) error {
	switch {
	case i == nil || i.backend.pool == nil:
		return invalid("zero Inspector: inspectors are made by NewInspector")
	case ctx == nil:
		return invalid("nil context")
	case ctx.Err() != nil:
		return core.ContextError(ctx)
	}
	return nil
}

// do sends one command.
func (i *Inspector) do(ctx context.Context, command string, args ...any) (any, error) {
	reply, sent, err := i.backend.use(ctx, func(do doer) (any, error) { return do(command, args...) })
	return reply, inspectError(ctx, sent, err)
}

func (i *Inspector) eval(ctx context.Context, script *luaScript, keys []string, argv ...any) (any, error) {
	reply, sent, err := i.backend.eval(ctx, script, script.args(keys, argv...))
	return reply, inspectError(ctx, sent, err)
}

func inspectError(ctx context.Context, sent bool, err error) error {
	if err == nil {
		return nil
	}
	_, err = outcomeOfError(ctx, sent, err)
	return err
}
