package conformance

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"

	"github.com/goairlock/airlock/core"
)

// awkwardNames are valid and easy to confuse once anybody rewrites them.
func awkwardNames() []string {
	long := strings.Repeat("n", 126)
	names := []string{
		"a.b", "a_b", "a-b", "a:b", "a/b", "a+b", "ab", "AB", "Ab", "aB",
		"a.b.c", "a.b_c", "a_b.c", "a:b:c", "a/b/c", "a-.b", "x1", "x.1", "x_1",
		"_ab", "9ab", "job", "job.", "JOB", "default", "a.b.", "order:created", "order.created", "order/created",
		long[:62] + "-1", long[:62] + "-2", long[:63] + "-1", long[:64] + "1", long[:64] + "2", long + "1", long + "2",
	}
	var good []string
	for _, n := range names { // core's rules, not ours, say which of them are names
		if _, err := core.DeclareTask[int](n).Intent(0); err == nil {
			good = append(good, n)
		}
	}
	return good
}

func namesApart(p *probe) {
	names := awkwardNames()
	var mu sync.Mutex
	calls := map[string][]string{} // by payload, the handlers that got it
	var tasks []core.Task[string]
	var handlers []core.Handler
	for _, n := range names {
		t := core.NewTask(n, func(ctx context.Context, arg string) error {
			j, _ := core.JobFrom(ctx)
			mu.Lock()
			calls[arg] = append(calls[arg], n+" as "+j.Task)
			mu.Unlock()
			return nil
		})
		tasks, handlers = append(tasks, t), append(handlers, t.Handler())
	}
	s := p.open(Setup{}, handlers...)
	for _, m := range modes {
		var jobs []job
		for _, t := range tasks {
			in, err := t.Intent(string(m) + " " + t.Name())
			if err != nil {
				p.broken("intent: %v", err)
			}
			jobs = append(jobs, job{s.newRef(), in})
		}
		s.accept(m, jobs...)
	}
	s.awaitFunc("every name reaches its handler", func() string {
		mu.Lock()
		defer mu.Unlock()
		for _, m := range modes {
			for _, n := range names {
				if len(calls[string(m)+" "+n]) == 0 {
					return fmt.Sprintf("%s %q reached nobody", m, n)
				}
			}
		}
		return ""
	})
	mu.Lock()
	defer mu.Unlock()
	for arg, by := range maps.All(calls) {
		_, n, _ := strings.Cut(arg, " ")
		for _, who := range by {
			if who != n+" as "+n {
				p.fail(fmt.Sprintf("task %q reaches its own handler under its own name", n), "it reached %s", who)
			}
		}
	}
}

// awaitFunc waits until missing returns "", for what the ledger does not see.
func (s *subject) awaitFunc(want string, missing func() string) {
	step := max(s.p.patience()/200, 1)
	for waited := step; missing() != ""; waited += step {
		if waited > s.p.patience() {
			s.p.fail(want, "%s", missing())
		}
		s.p.sleep(step)
	}
}

func headersExact(p *probe) {
	s := p.open(Setup{})
	s.need(core.OptionHeader)
	many := make([]core.Option, 200)
	for i := range many {
		many[i] = core.Header(fmt.Sprintf("Key-%03d", i), fmt.Sprint("value ", i))
	}
	sets := [][]core.Option{
		{core.Header("Key", "upper"), core.Header("key", "lower"), core.Header("KEY", "all")},
		{core.Header("Empty", "")},
		{core.Header("Edges", "  spaces, tab\t ")},
		{core.Header("Text", "Grüße, 世界, 👋"), core.Header("Quote", `"\'<>&`), core.Header("Percent", "%20%0d%0a")},
		{core.Header("Long", strings.Repeat("x", 8<<10))},
		many,
	}
	// Names that backends use for themselves; both jobs of each must run.
	for _, k := range []string{"Nats-Msg-Id", "Nats-Expected-Stream", "traceparent", "tracestate", "Id", "Task", "Queue", "Content-Type", "Delay", "Priority"} {
		sets = append(sets, []core.Option{core.Header(k, "mine")}, []core.Option{core.Header(k, "mine")})
	}
	for _, m := range modes {
		var jobs []job
		for _, set := range sets {
			jobs = append(jobs, s.make(nil, set...))
		}
		s.accept(m, jobs...)
		s.awaitRuns(jobs)
		for _, j := range jobs {
			want := maps.Collect(j.in.Headers().All())
			for _, r := range s.runsOf(j.ref) {
				s.sameHeaders(want, r.Job.Headers)
			}
		}
	}
}

// sameHeaders wants these headers and tolerates others, which executors may
// add, but only under the reserved prefix.
func (s *subject) sameHeaders(want map[string]string, got core.Headers) {
	for k, v := range want {
		if !got.Has(k) {
			s.p.fail(fmt.Sprintf("header %s", k), "there is none; %d headers arrived", got.Len())
		}
		if g := got.Get(k); g != v {
			s.p.fail(fmt.Sprintf("header %s: %q", k, v), "%q", g)
		}
	}
	for k := range got.All() {
		if _, ok := want[k]; !ok && !strings.HasPrefix(k, "Airlock-") {
			s.p.fail(fmt.Sprintf("only the %d headers that were set", len(want)), "also %s", k)
		}
	}
}
