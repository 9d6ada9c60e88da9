package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/goairlock/airlock/core"
)

var questionChecks = []check{
	{id: "Q01", level: Core, run: askedForCapabilities,
		title: "an executor that is asked for its capabilities returns a copy of what it declares",
		why:   "scopes and wrappers decide by the answer, and a caller who changes it must not change the executor"},
	{id: "Q02", level: Core, run: checkTellsTheDispatch,
		title: "Check returns an error exactly for what a dispatch then refuses, with the same error",
		why:   "a scope asks at the call site, so that nothing is refused after the transaction has committed"},
	{id: "Q03", level: Core, run: questionsDoNothing,
		title: "a question dispatches nothing and remembers nothing",
		why:   "every Enqueue asks: a question that takes an ID or stores a job is a second dispatch"},
	{id: "Q04", level: Faults, run: questionsNeedNoBackend,
		title: "a question does no I/O: it is answered while the backend is down, and no byte is sent",
		why:   "a question that dials makes each request wait for the queue, and fail with it"},
}

// asked opens a system whose executor answers questions.
func asked(p *probe, s Setup) *subject {
	sub := p.open(s)
	if _, ok := sub.sys.Exec.Capabilities(); !ok {
		p.notApplicable("the executor does not answer questions")
	}
	return sub
}

func askedForCapabilities(p *probe) {
	s := asked(p, Setup{})
	first, _ := s.sys.Exec.Capabilities()
	if got, want := capsText(first), capsText(s.caps); got != want {
		p.fail("the capabilities that the harness declares: "+want, "%s", got)
	}
	for name := range first.Options {
		first.Options[name] = core.Claim{Support: core.SupportEmulated, Reason: "changed by the caller"}
	}
	if first.Options != nil {
		first.Options["conformance-stranger"] = core.Claim{Support: core.SupportNative}
	}
	second, ok := s.sys.Exec.Capabilities()
	if got, want := capsText(second), capsText(s.caps); !ok || got != want {
		p.fail("the same answer again, though the caller has changed the first one", "%s", got)
	}
	if err := s.sys.Exec.Check(p.ctx); err != nil {
		p.fail("Check without intents finds nothing wrong with the executor", "%v", err)
	}
}

func capsText(c core.Capabilities) string {
	text, err := json.Marshal(c)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// offers are jobs that the executor takes and jobs that it refuses.
func (s *subject) offers() []job {
	jobs := []job{
		s.make(nil), s.make(nil, core.NativeOption("conformance-stranger", 1)),
		s.make(nil, core.Priority(1)), s.make(nil, core.Priority(10)),
	}
	for _, b := range s.badJobs() {
		jobs = append(jobs, b.job)
	}
	for _, name := range core.PortableOptions() {
		jobs = append(jobs, s.make(nil, sampleOption(s.p, name)))
		claim := s.caps.Options[name]
		if most := claim.Most; most > 0 && name == core.OptionMaxAttempts {
			jobs = append(jobs, s.make(nil, core.MaxAttempts(most)), s.make(nil, core.MaxAttempts(most+1)))
		}
		if longest := claim.Longest; longest > 0 && name == core.OptionDelay {
			jobs = append(jobs, s.make(nil, core.Delay(longest+time.Hour)))
		}
	}
	if most := s.caps.MaxPayload; most > 0 && most <= 16<<20 {
		jobs = append(jobs, s.makeRaw(sized("small", most)), s.makeRaw(sized("large", most+1)))
	}
	return jobs
}

func checkTellsTheDispatch(p *probe) {
	s := asked(p, Setup{Queues: []string{"", "conformance"}})
	ask := func(jobs ...job) error { return s.sys.Exec.Check(p.ctx, intentsOf(jobs)...) }
	good := s.make(nil)
	for _, j := range s.offers() {
		answer, both := ask(j), ask(good, j)
		if (answer == nil) != (both == nil) {
			p.fail(fmt.Sprintf("two intents are refused if one of them is: %v", answer), "%v", both)
		}
		o := s.send(single, j)[0]
		switch {
		case (answer == nil) == (o.State == core.Rejected):
			p.fail(fmt.Sprintf("a dispatch of %v does what Check says: %v", j.in, answer), "%v: %v", o.State, o.Err)
		case answer == nil:
			continue
		}
		for name, sentinel := range sentinels {
			if name != "ErrNotSent" && errors.Is(answer, sentinel) != errors.Is(o.Err, sentinel) {
				p.fail(fmt.Sprintf("Check and dispatch agree about %s: %v", name, o.Err), "%v", answer)
			}
		}
	}
}

func questionsDoNothing(p *probe) {
	s := asked(p, Setup{Slots: 2, Queues: []string{"", "conformance"}})
	jobs := s.offers()
	cancelled, cancel := context.WithCancel(p.ctx)
	cancel()
	for _, ctx := range []context.Context{p.ctx, cancelled} {
		for _, j := range jobs {
			s.sys.Exec.Check(ctx, j.in) //nolint:errcheck // its answer is judged by Q02
		}
		s.sys.Exec.Check(ctx, intentsOf(jobs)...) //nolint:errcheck // likewise
	}
	if !s.sys.Inline {
		s.quiet()
	}
	if n, _ := s.ran(refsOf(jobs)); n > 0 {
		p.fail("nothing runs of what was only asked about", "%d jobs ran", n)
	}
	if s.sys.Stored != nil {
		known := map[string]bool{}
		for _, j := range jobs {
			known[j.in.ID] = true
		}
		for _, r := range s.records() {
			if known[r.ID] {
				p.fail("nothing is stored of what was only asked about", "%s is %s", r.ID, r.State)
			}
		}
	}
	for _, opts := range s.kinds("asked") {
		j := s.make(nil, opts...)
		for range 2 {
			if err := s.sys.Exec.Check(p.ctx, j.in); err != nil {
				p.fail("Check takes a plain job", "%v", err)
			}
		}
		s.wantState("the first dispatch of an intent that was asked about before", core.Accepted, j)
	}
}

func questionsNeedNoBackend(p *probe) {
	s := p.faulty(Setup{})
	if _, ok := s.sys.Exec.Capabilities(); !ok {
		p.notApplicable("the executor does not answer questions")
	}
	warm := s.make(nil)
	s.accept(single, warm)
	s.awaitRuns([]job{warm})
	s.hush()
	jobs := s.offers()
	ask := func() {
		for _, j := range jobs {
			s.sys.Exec.Check(p.ctx, j.in) //nolint:errcheck // its answer is judged by Q02
		}
		if err := s.sys.Exec.Check(p.ctx, jobs[0].in); err != nil {
			p.fail("Check takes a plain job", "%v", err)
		}
	}
	// A client may send of its own accord, such as a heartbeat. So several rounds are
	// made, and one without a byte is enough.
	var sent int64
	silent := false
	for range 5 {
		before := s.sys.Proxy.Stats()
		ask()
		after := s.sys.Proxy.Stats()
		sent = after.RequestBytes - before.RequestBytes + after.Connections - before.Connections
		silent = silent || sent == 0
	}
	if !silent {
		p.fail("no byte is sent and no connection made by questions", "%d in the last of five rounds", sent)
	}
	s.sys.Proxy.Down()
	p.hist.add(Event{Kind: EventFault, Text: "down", State: "idle"})
	answered := make(chan struct{})
	go p.contain(func() { ask(); close(answered) })
	timer := time.NewTimer(p.patience())
	defer timer.Stop()
	select {
	case <-answered:
	case <-timer.C:
		p.fail("questions are answered while the backend is down", "not within %v", p.patience())
	}
	p.witness("asked while down", len(jobs))
}
