package conformance

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// awkwardNames returns valid names that are easy to confuse if a backend changes
// them.
func awkwardNames() []string {
	long := strings.Repeat("n", 126)
	names := []string{
		"a.b", "a_b", "a-b", "a:b", "a/b", "a+b", "ab", "AB", "Ab", "aB",
		"a.b.c", "a.b_c", "a_b.c", "a:b:c", "a/b/c", "a-.b", "x1", "x.1", "x_1",
		"_ab", "9ab", "job", "job.", "JOB", "default", "a.b.", "order:created", "order.created", "order/created",
		long[:62] + "-1", long[:62] + "-2", long[:63] + "-1", long[:64] + "1", long[:64] + "2", long + "1", long + "2",
	}
	var good []string
	for _, n := range names {
		if validTask(n) {
			good = append(good, n)
		}
	}
	return good
}

// validTask reports whether core takes the name of a task.
func validTask(name string) bool {
	_, err := core.DeclareTask[int](name).Intent(0)
	return err == nil
}

func namesApart(p *probe) {
	names := awkwardNames()
	for _, n := range namesOf(p.nearNames("near", longestTask, validTask)) {
		if !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	var mu sync.Mutex
	calls := map[string][]string{} // by payload: the handlers that got it
	var tasks []core.Task[string]
	var handlers []worker.Handler
	for _, n := range names {
		t := core.NewTask(n, func(ctx context.Context, arg string) error {
			j, _ := worker.JobFrom(ctx)
			mu.Lock()
			calls[arg] = append(calls[arg], n+" as "+j.Task)
			mu.Unlock()
			return nil
		})
		tasks, handlers = append(tasks, t), append(handlers, worker.Handle(t, t.Func()))
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
		missing, first := 0, ""
		for _, m := range modes {
			for _, n := range names {
				if len(calls[string(m)+" "+n]) > 0 {
					continue
				}
				if missing++; missing == 1 {
					first = fmt.Sprintf("%s %q", m, n)
				}
			}
		}
		if missing == 0 {
			return ""
		}
		return fmt.Sprintf("%d of %d reached no handler, one of them is %s", missing, len(modes)*len(names), first)
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

// awaitFunc waits until missing returns "". It fails if the same is missing for too
// long. It is for what the ledger does not see.
func (s *subject) awaitFunc(want string, missing func() string) {
	step := max(s.p.patience()/200, 1)
	last := ""
	for waited := step; ; waited += step {
		got := missing()
		switch {
		case got == "":
			return
		case got != last:
			last, waited = got, 0
		case waited > s.p.patience():
			s.p.fail(want, "%s, for %v", got, s.p.patience())
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
	near := p.nearNames("Near", longestHeaderKey, func(key string) bool {
		_, err := s.ledger.job.Intent(jobArgs{}, core.Header(key, ""))
		return err == nil
	})
	for _, pair := range near {
		sets = append(sets, []core.Option{core.Header(pair.a, "first"), core.Header(pair.b, "second")})
	}
	// Names that backends use. Both jobs of each must run.
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

// sameHeaders compares headers. An executor may add others with the reserved prefix.
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
