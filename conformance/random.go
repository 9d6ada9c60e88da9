package conformance

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/goairlock/airlock/core"
)

// randomSpec describes a random job, in a form that can be made smaller.
type randomSpec struct {
	options []core.OptionName
	headers int
	body    string
}

func (p *probe) randomSpec(names []core.OptionName) randomSpec {
	var r randomSpec
	for _, n := range names {
		if p.rand.IntN(3) == 0 {
			r.options = append(r.options, n)
		}
	}
	r.headers = 1 + p.rand.IntN(4)
	var body strings.Builder
	for range p.rand.IntN(40) {
		body.WriteRune([]rune(`abcÄß漢<&> 09"\/👋`)[p.rand.IntN(16)])
	}
	b, err := core.JSON.Encode(body.String())
	if err != nil {
		p.broken("encode: %v", err)
	}
	r.body = string(b)
	return r
}

// smaller returns specs that each lack one thing.
func (r randomSpec) smaller() []randomSpec {
	var out []randomSpec
	for i := range r.options {
		s := r
		s.options = slices.Delete(slices.Clone(r.options), i, i+1)
		out = append(out, s)
	}
	if r.headers > 1 {
		s := r
		s.headers = 1
		out = append(out, s)
	}
	if len(r.body) > 2 {
		s := r
		s.body = `""`
		out = append(out, s)
	}
	return out
}

// sentJob is a random job that was sent.
type sentJob struct {
	spec randomSpec
	job  job
}

func (s *subject) makeRandom(spec randomSpec) *sentJob {
	var opts []core.Option
	for _, n := range spec.options {
		switch n {
		case core.OptionHeader:
			for i := range spec.headers {
				opts = append(opts, core.Header(fmt.Sprintf("Key-%d", i), fmt.Sprint("value ", i)))
			}
			opts = append(opts, core.Header("Color", "red"))
		case core.OptionDelay:
			opts = append(opts, core.Delay(max(20*time.Millisecond, s.caps.Options[n].Granularity)))
		default:
			opts = append(opts, sampleOption(s.p, n))
		}
	}
	sent := &sentJob{spec: spec}
	sent.job = s.makeBody(nil, []byte(spec.body), opts...)
	return sent
}

// wrong returns what is wrong with the run of a random job, "" if nothing is.
func (s *subject) wrong(j *sentJob) string {
	if !s.await(s.p.patience()+s.caps.Options[core.OptionDelay].Granularity, func() bool { return s.count(j.job.ref) > 0 }) {
		return "it did not run"
	}
	r := s.runsOf(j.job.ref)[0]
	o := j.job.in.Options
	deadline, limited := r.ctx.Deadline()
	want := maps.Collect(j.job.in.Headers().All())
	for k, v := range want {
		if !r.Job.Headers.Has(k) || r.Job.Headers.Get(k) != v {
			return fmt.Sprintf("header %s is %q and not %q", k, r.Job.Headers.Get(k), v)
		}
	}
	switch {
	case !s.p.samePayload([]byte(j.spec.body), r.Body):
		return fmt.Sprintf("the body is %s and not %s", show(r.Body), show([]byte(j.spec.body)))
	case s.honours(core.OptionID) && r.Job.ID != j.job.in.ID:
		return "the ID is " + r.Job.ID
	case o.Queue != "" && s.honours(core.OptionQueue) && r.Job.Queue != o.Queue:
		return fmt.Sprintf("the queue is %q", r.Job.Queue)
	case o.MaxAttempts != 0 && r.Job.MaxAttempts != o.MaxAttempts:
		return fmt.Sprintf("max attempts are %d and not %d", r.Job.MaxAttempts, o.MaxAttempts)
	case !o.At.IsZero() && r.Began.Before(o.At.Add(-s.p.h.Skew)):
		return "it ran too early"
	case (o.Timeout != 0 || !o.Deadline.IsZero()) && !limited:
		return "its context has no deadline"
	case o.Timeout != 0 && deadline.After(r.Began.Add(o.Timeout+s.caps.Options[core.OptionTimeout].Granularity)):
		return "its timeout is too long"
	case o.Timeout == 0 && o.Deadline.IsZero() && limited:
		return "its context has a deadline that nobody set"
	}
	return ""
}

func randomJobs(p *probe) {
	s := p.open(Setup{Queues: []string{"", "conformance"}})
	var names []core.OptionName
	for _, n := range core.PortableOptions() {
		if s.honours(n) {
			names = append(names, n)
		}
	}
	var sent []*sentJob
	for len(sent) < 80 {
		group := make([]job, 0, 8)
		for range 1 + p.rand.IntN(8) {
			j := s.makeRandom(p.randomSpec(names))
			if s.refusesTogether(j.job) {
				continue
			}
			sent = append(sent, j)
			group = append(group, j.job)
		}
		if len(group) > 0 {
			s.accept(batch, group...)
		}
	}
	for _, j := range sent {
		if what := s.wrong(j); what != "" {
			small, still := s.shrink(j.spec, what)
			p.fail("a random job arrives as it was sent", "%s; smallest found: options %v, %d headers, body %s: %s",
				what, small.options, small.headers, small.body, still)
		}
	}
}

// shrink looks for a smaller job with which something is wrong too.
func (s *subject) shrink(spec randomSpec, what string) (randomSpec, string) {
	for {
		found := false
		for _, small := range spec.smaller() {
			j := s.makeRandom(small)
			if o := s.send(batch, j.job, s.make(nil))[0]; o.State != core.Accepted {
				continue
			}
			if w := s.wrong(j); w != "" {
				spec, what, found = small, w, true
				break
			}
		}
		if !found {
			return spec, what
		}
	}
}

func golden(p *probe) {
	if len(p.h.Golden) == 0 {
		p.lacks("Golden")
	}
	for _, g := range p.h.Golden {
		p.goldenOne(g)
	}
}
