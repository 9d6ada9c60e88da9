package conformance

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// parkedChecks are for jobs that this worker cannot run and another one can.
var parkedChecks = []check{
	{id: "K12", level: Options, run: unknownTaskWaits, limit: time.Minute,
		title: "a task that no handler knows waits for a worker that knows it, and uses no attempt",
		why:   "during a rolling deploy old workers meet new tasks; burying them loses work that the next worker could do"},
	{id: "K13", level: Options, run: laterEnvelopeWaits,
		title: "a job with an envelope of a later version is kept, is not run, and blocks nobody",
		why:   "the newest producer of a rolling deploy must not have its jobs buried by older workers"},
}

// parksWithin bounds the wait for a job that was parked.
func (p *probe) parksWithin() time.Duration {
	return max(p.patience(), p.scaled(p.h.ParksFor))
}

// unknownTasks makes jobs of a task that the suite's registries do not know, in
// their last attempt where that can be said.
func (s *subject) unknownTasks(n int) []job {
	var opts []core.Option
	if s.honours(core.OptionMaxAttempts) {
		opts = append(opts, core.MaxAttempts(1))
	}
	jobs := make([]job, n)
	for i := range jobs {
		ref := s.newRef()
		in, err := unknownTaskName.Intent(jobArgs{Ref: ref}, opts...)
		if err != nil {
			s.p.broken("intent: %v", err)
		}
		s.expect(ref, in, nil)
		jobs[i] = job{ref, in}
	}
	return jobs
}

func unknownTaskWaits(p *probe) {
	var w watcher
	p.watch = w.observe
	s := p.open(Setup{Slots: 2})
	p.watch = nil
	if s.sys.Inline || s.caps.Durability == core.DurabilityProcess {
		p.notApplicable("jobs run in the process that knows its tasks")
	}
	p.affords("a parked job", p.h.ParksFor)
	parked := s.unknownTasks(5) // more than there are slots
	s.accept(batch, parked...)
	others := s.makeN(10)
	s.accept(single, others...)
	s.awaitRuns(others)
	s.hush() // in which they are parked, and parked again
	if p.h.Lacks["Observers"] == "" {
		w.awaitParked(s, parked)
	}

	var mu sync.Mutex
	seen := map[string][]int{} // attempts by ID
	next := p.open(Setup{Namespace: s.setup.Namespace, Slots: 2}, worker.Handle(unknownTaskName, func(ctx context.Context, _ jobArgs) error {
		j, _ := worker.JobFrom(ctx)
		mu.Lock()
		defer mu.Unlock()
		seen[j.ID] = append(seen[j.ID], j.Attempt)
		return nil
	}))
	missing := func() int {
		mu.Lock()
		defer mu.Unlock()
		n := 0
		for _, j := range parked {
			if len(seen[j.in.ID]) == 0 {
				n++
			}
		}
		return n
	}
	within := time.Duration(len(parked)) * p.parksWithin()
	for end := time.Now().Add(within); missing() > 0; p.sleep(p.settle() / 10) {
		if time.Now().After(end) {
			p.fail("a job whose task the first worker does not know runs in the next one that does", "%d of %d did not within %v", missing(), len(parked), within)
		}
	}
	next.hush()
	mu.Lock()
	defer mu.Unlock()
	for id, attempts := range seen {
		if len(attempts) != 1 || attempts[0] != 1 {
			p.fail("a parked job runs once, as attempt 1", "%s ran as attempts %v", id, attempts)
		}
	}
}

func laterEnvelopeWaits(p *probe) {
	s := p.open(Setup{Slots: 2})
	switch {
	case s.sys.Inline || s.caps.Durability == core.DurabilityProcess:
		p.notApplicable("jobs are not stored as messages")
	case s.sys.Later == nil:
		p.lacks("System.Later")
	}
	for range 5 {
		if err := s.sys.Later(p.ctx, jobTaskName); err != nil {
			p.broken("harness: System.Later: %v", err)
		}
	}
	jobs := s.makeN(10)
	s.accept(single, jobs...)
	s.awaitRuns(jobs)
	s.hush()
	for _, ph := range s.phantoms() {
		if strings.Contains(ph, `ref ""`) {
			p.fail("no handler is called for a job with an envelope of a later version", "%s", ph)
		}
	}
	if s.sys.Stored == nil {
		return
	}
	s.awaitFunc("5 jobs with an envelope of a later version wait for a worker that can read it", func() string {
		kept := 0
		for _, r := range s.records() {
			if r.State == Waiting || r.State == Running {
				kept++
			}
		}
		if kept >= 5 {
			return ""
		}
		return fmt.Sprintf("%d wait or run", kept)
	})
}
