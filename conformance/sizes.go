package conformance

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/goairlock/airlock/core"
)

var sizeChecks = []check{
	{id: "B06", level: Core, run: refusedAtBorders, limit: time.Minute,
		title: "a refused intent is found before anything is sent, wherever it is in a large batch",
		why:   "code that checks each part of a batch when it sends it has already sent the parts before"},
	{id: "B07", level: Core, run: batchesAtBorders, limit: 2 * time.Minute,
		title: "batches of every size around the usual limits arrive complete, also several at once, and with a duplicate or a large job anywhere",
		why:   "what is wrong at a border of a part shows only in batches of just that size"},
}

// borders are sizes at which code often splits a batch.
var borders = []int{100, 128, 200, 256, 500, 512, 1000, 1024}

// around returns a size at a border, or next to it.
func (p *probe) around(border int) int { return border - 1 + p.rand.IntN(3) }

// refusedAtBorders sends batches with one bad intent. Nothing of them may be sent, so
// the good intents are the same in every call.
func refusedAtBorders(p *probe) {
	s := p.open(Setup{})
	bad := s.badJobs()
	good := s.makeN(borders[len(borders)-1] + 2)
	all := append(slices.Clone(good), jobsOf(bad)...)
	for _, j := range all {
		p.hist.add(Event{Kind: EventInvoke, System: s.system, Ref: j.ref, ID: j.in.ID, Options: eventOptions(&j.in)})
		p.hist.add(Event{Kind: EventOutcome, System: s.system, Ref: j.ref, ID: j.in.ID, State: core.NotSent.String()})
	}
	for k, border := range borders {
		n := p.around(border)
		for i, at := range []int{0, n / 2, borderBefore(n) - 1, borderBefore(n), n - 1} {
			if at < 0 || at >= n {
				continue
			}
			b := bad[(k+i)%len(bad)]
			intents := intentsOf(good[:n])
			intents[at] = b.job.in
			err := s.callExec(s.sys.Exec, p.ctx, intents...)
			outs := core.OutcomesOf(err, intents)
			for at2, o := range outs {
				switch {
				case at2 == at && (o.State != core.Rejected || !errors.Is(o.Err, b.want)):
					p.fail(fmt.Sprintf("%s at %d of %d is rejected as %v", b.what, at, n, b.want), "%v: %v", o.State, o.Err)
				case at2 != at && o.State != core.NotSent:
					p.fail(fmt.Sprintf("%s at %d of %d: number %d is not sent", b.what, at, n, at2), "%v: %v", o.State, o.Err)
				}
			}
		}
	}
	s.quiet()
	if n, _ := s.ran(refsOf(all)); n > 0 {
		p.fail("nothing of a refused call runs", "%d jobs ran", n)
	}
}

// borderBefore returns the largest border that is not beyond n.
func borderBefore(n int) int {
	at := 0
	for _, b := range borders {
		if b <= n {
			at = b
		}
	}
	return at
}

func jobsOf(bad []badJob) []job {
	jobs := make([]job, len(bad))
	for i := range bad {
		jobs[i] = bad[i].job
	}
	return jobs
}

func batchesAtBorders(p *probe) {
	s := p.open(Setup{})
	sizes := []int{98, 99, 100, 101, 199, 200, 201, 250, 500, 1000}
	if !p.bubble { // one of them
		at := p.rand.IntN(len(sizes))
		sizes = sizes[at : at+1]
	}
	pick := func(borders ...int) { sizes = append(sizes, p.around(borders[p.rand.IntN(len(borders))])) }
	for range p.h.effort() {
		pick(128, 256)
		pick(500, 512)
		pick(1000, 1024)
	}
	for _, n := range sizes {
		jobs := s.makeN(n)
		s.accept(batch, jobs...)
		s.awaitRuns(jobs)
	}
	s.oddAtBorders()
	// Several at once.
	const callers, each = 4, 101
	groups := make([][]job, callers)
	var all []job
	for i := range groups {
		groups[i] = s.makeN(each)
		all = append(all, groups[i]...)
	}
	p.together(callers, func(i int) { s.accept(batch, groups[i]...) })
	s.awaitRuns(all)
	s.quiet()
	for _, j := range all {
		if n := s.count(j.ref); n != 1 {
			p.fail("one run of each job of batches that are sent at once", "%s: %d", j.ref, n)
		}
	}
}

// oddAtBorders sends batches with a duplicate and a large job in some places.
func (s *subject) oddAtBorders() {
	p := s.p
	const n = 201
	large := 64 << 10
	if most := s.caps.MaxPayload; most > 0 {
		large = min(large, most/2)
	}
	opts := func() []core.Option { return nil }
	if s.honours(core.OptionID) && s.caps.IDWindow.Kind != "" && !(s.sys.Inline && s.caps.IDWindow.Kind == core.WindowUnfinished) {
		number := 0
		opts = func() []core.Option {
			number++
			return []core.Option{core.ID(fmt.Sprintf("odd-%s-%d", s.setup.Namespace, number))}
		}
	}
	for _, at := range []int{0, 99, 100, n - 1} {
		// The first one must not be done, and its ID free, before the second one is sent.
		sent, plan := make(chan struct{}), handler(nil)
		if !s.sys.Inline {
			plan = p.hold(sent)
		}
		jobs := s.makeN(n)
		big := (at + n/2) % n
		jobs[big] = s.makeBody(nil, []byte(`"`+strings.Repeat("x", large)+`"`))
		want := core.Accepted
		if chosen := opts(); chosen != nil {
			twin := at + 1 // in another part of the batch, or next to it
			if twin == n {
				twin = 0
			}
			first, second := min(at, twin), max(at, twin)
			jobs[first], jobs[second] = s.make(plan, chosen...), s.make(plan, chosen...)
			at, want = second, core.Duplicate
		}
		outs, _ := s.dispatch(p.ctx, jobs...)
		close(sent)
		for i, o := range outs {
			if i == at && o.State != want || i != at && o.State != core.Accepted {
				p.fail(fmt.Sprintf("%d jobs of which number %d is %v: the others are accepted", n, at, want), "number %d is %v: %v", i, o.State, o.Err)
			}
		}
		if want == core.Duplicate {
			jobs = slices.Delete(jobs, at, at+1)
		}
		s.awaitRuns(jobs)
	}
}

// largeInEveryAttempt sends jobs with large payloads that are not run to their end at
// once. That every run has the whole payload is judged at the end of every check.
func (s *subject) largeInEveryAttempt(plan handler, opts []core.Option, within time.Duration) {
	most := s.caps.MaxPayload
	if most == 0 || most > 200<<10 {
		most = 200 << 10
	}
	var jobs []job
	for _, n := range []int{5000, 33_000, 65_536, most - 1000} {
		if n > 0 && n <= most-1000 { // what is around the body needs some
			jobs = append(jobs, s.makeBody(plan, []byte(`"`+pattern(n-2)+`"`), opts...))
		}
	}
	s.push(single, jobs...)
	for _, j := range jobs {
		s.awaitEnd(j, 3, within)
	}
}
