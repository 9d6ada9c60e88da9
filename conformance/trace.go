package conformance

import (
	"context"
	"fmt"
	"sync"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

var traceChecks = []check{
	{id: "T02", level: Options, run: traceHeaders,
		title: "trace headers reach every attempt, and a malformed one does no harm",
		why:   "a trace must not end at the queue"},
	{id: "T03", level: Options, run: middlewareSeesAll,
		title: "middleware sees the beginning and the end of every run once",
		why:   "otherwise metrics count something else than runs"},
}

func traceHeaders(p *probe) {
	s := p.open(Setup{})
	s.need(core.OptionHeader)
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	trace := []core.Option{core.Header("traceparent", parent), core.Header("tracestate", "a=1,b=2"), core.Header("baggage", "user=%C3%A4")}
	attempts := 1
	var within = p.patience()
	if s.honours(core.OptionMaxAttempts) && s.honours(core.OptionBackoff) {
		attempts = 2
		trace = append(trace, core.MaxAttempts(2), core.Backoff(core.Fixed(s.soon().First)))
		within = p.patience() + s.soon().Max
	}
	failOnce := func(r *run) error {
		if r.ordinal < attempts {
			return errOnPurpose
		}
		return nil
	}
	for _, m := range modes {
		j, plain := s.make(failOnce, trace...), s.make(nil)
		bad := s.make(nil, core.Header("traceparent", "not a trace ÿ"))
		if s.sys.Inline {
			s.push(m, plain, bad, j)
		} else {
			s.push(m, j, plain, bad)
		}
		for i, r := range s.awaitEnd(j, attempts, within) {
			for k, v := range j.in.Headers().All() {
				if got := r.Job.Headers.Get(k); got != v {
					p.fail(fmt.Sprintf("run %d, %s, has %s: %s", i+1, m, k, v), "%q", got)
				}
			}
		}
		s.awaitRuns([]job{plain, bad})
		if s.runsOf(plain.ref)[0].Job.Headers.Has("traceparent") {
			p.fail("a job without trace headers has none", "it has a traceparent, %s", m)
		}
	}
}

func middlewareSeesAll(p *probe) {
	var mu sync.Mutex
	began, failed, done := map[string]int{}, map[string]int{}, map[string]int{}
	middleware := func(ctx context.Context, next func(context.Context) error) error {
		j, _ := worker.JobFrom(ctx)
		mu.Lock()
		began[j.ID]++
		mu.Unlock()
		err := next(ctx)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			failed[j.ID]++
		} else {
			done[j.ID]++
		}
		return err
	}
	s := p.openWith(Setup{}, middleware)
	var opts []core.Option
	if s.honours(core.OptionMaxAttempts) {
		opts = append(opts, core.MaxAttempts(1))
	}
	good, bad := s.makeN(10), []job{s.make(failing, opts...), s.make(failing, opts...)}
	s.accept(batch, good...)
	s.push(single, bad...)
	s.awaitRuns(append(good, bad...))
	s.quiet()
	mu.Lock()
	defer mu.Unlock()
	if len(began) == 0 {
		p.notApplicable("the executor runs intents without the registry's middleware")
	}
	total := func(m map[string]int) (n int) {
		for _, c := range m {
			n += c
		}
		return n
	}
	runs := len(s.runsAll()) + len(s.phantoms()) // K04 looks for phantoms
	if total(began) != runs || total(done)+total(failed) != runs {
		p.fail(fmt.Sprintf("middleware sees %d runs begin and end", runs), "%d began, %d succeeded, %d failed", total(began), total(done), total(failed))
	}
}

func (l *ledger) runsAll() []*run {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.runs[:len(l.runs):len(l.runs)]
}
