package conformance

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/goairlock/airlock/core"
)

var extremeChecks = []check{
	{id: "P25", level: Options, run: extremes, cases: []string{"delay", "max-attempts", "backoff", "timeout", "deadline", "header"}, limit: time.Minute,
		title: "the smallest and the largest values of an option, and the powers between, are kept or refused",
		why:   "a value that does not fit its field arrives as another one, and nobody sees it before it is due"},
	{id: "A17", level: Core, run: payloadsExact,
		title: "payloads of every size up to the limit arrive unchanged, also if they differ in one byte only or are not ASCII",
		why:   "buffers are cut, reused and compared at sizes that small tests do not reach"},
}

// spans are the durations of the extreme cases, from the shortest to the longest that
// core takes.
var spans = []time.Duration{
	1, time.Microsecond, time.Millisecond, 999 * time.Millisecond, time.Second, time.Minute, 59 * time.Minute, 61 * time.Minute, 25 * time.Hour,
	8 * 24 * time.Hour, 31 * 24 * time.Hour, math.MaxInt32 * time.Millisecond, 366 * 24 * time.Hour, math.MaxUint32 * time.Millisecond * 40, 99 * 365 * 24 * time.Hour,
}

// counts are numbers of attempts around the borders of integer types.
var counts = []int{1, 2, 25, 26, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 32767, 32768, 65535, 65536, math.MaxInt32}

func extremes(p *probe) {
	s := p.open(Setup{Slots: 8})
	claim := s.need(core.OptionName(p.caseOf))
	switch core.OptionName(p.caseOf) {
	case core.OptionDelay:
		s.extremeDelays(claim)
	case core.OptionMaxAttempts:
		s.extremeAttempts()
	case core.OptionBackoff:
		s.extremeBackoffs(claim)
	case core.OptionTimeout, core.OptionDeadline:
		s.extremeTimes(claim)
	case core.OptionHeader:
		s.extremeHeaders()
	}
}

// taken sends a job that the executor takes or, as its capabilities say, refuses.
func (s *subject) taken(what string, j job) bool {
	want := core.Accepted
	if err := s.caps.Check(j.in); err != nil {
		want = core.Rejected
	}
	if o := s.send(single, j)[0]; o.State != want && !(s.sys.Inline && want == core.Accepted && o.State == core.Failed) {
		s.p.fail(fmt.Sprintf("%s is %v", what, want), "%v: %v", o.State, o.Err)
	}
	return want == core.Accepted
}

func (s *subject) extremeDelays(claim core.Claim) {
	p := s.p
	var jobs []job
	add := func(what string, opt core.Option) {
		if j := s.make(nil, opt); s.taken(what, j) {
			jobs = append(jobs, j)
		}
	}
	for _, d := range spans {
		add(fmt.Sprint("a delay of ", d), core.Delay(d))
	}
	for _, year := range []int{1960, 1970, 2036, 2038, 2039, 2099} {
		add(fmt.Sprint("the year ", year), core.At(time.Date(year, 2, 28, 23, 59, 59, 999_999_999, time.FixedZone("odd", 5*3600+45*60))))
	}
	add("now, in another zone", core.At(time.Now().In(time.FixedZone("far east", 14*3600))))
	sent := time.Now()
	far := sent.Add(dueSoon)
	if p.bubble {
		far = sent.Add(400 * 24 * time.Hour)
	}
	for _, j := range jobs {
		due := j.in.Options.At
		if due.After(far) {
			continue
		}
		if !s.await(max(0, time.Until(due))+claim.Granularity+p.patience(), func() bool { return s.count(j.ref) > 0 }) {
			p.fail(fmt.Sprint("a job for ", due, " runs when it is due"), "not within %v", p.patience())
		}
	}
	s.quiet()
	for _, j := range jobs {
		for _, r := range s.runsOf(j.ref) {
			if early := j.in.Options.At.Sub(r.Began); early > p.h.Skew {
				p.fail(fmt.Sprint("a job for ", j.in.Options.At, " does not start before"), "%v early", early)
			}
			if late := r.Began.Sub(j.in.Options.At); p.bubble && late > claim.Granularity+p.slack() && j.in.Options.At.After(sent) {
				p.fail(fmt.Sprint("a job for ", j.in.Options.At, " starts at its time"), "%v late", late)
			}
		}
	}
}

func (s *subject) extremeAttempts() {
	p := s.p
	numbers := counts
	if most := s.caps.Options[core.OptionMaxAttempts].Most; most > 0 {
		numbers = append(numbers, most-1, most)
	}
	for _, n := range numbers {
		j := s.make(nil, core.MaxAttempts(n))
		if !s.taken(fmt.Sprintf("max-attempts of %d", n), j) {
			continue
		}
		if got := s.awaitEnd(j, 1, p.patience())[0].Job.MaxAttempts; got != n {
			p.fail(fmt.Sprintf("the handler finds max-attempts of %d", n), "%d", got)
		}
	}
	if !p.bubble || !s.honours(core.OptionBackoff) {
		return // P10 counts the runs
	}
	for _, n := range []int{33, 65, 130, 300} {
		j := s.make(failing, core.MaxAttempts(n), core.Backoff(s.soon()))
		s.push(single, j)
		s.awaitEnd(j, n, time.Duration(n)*(s.soon().Max+p.patience()))
		p.sleep(p.settle())
		if got := s.count(j.ref); got != n {
			p.fail(fmt.Sprintf("%d runs with max-attempts of %d", n, n), "%d", got)
		}
		runs := s.runsOf(j.ref)
		for i, r := range runs {
			if r.Job.Attempt != i+1 {
				p.fail(fmt.Sprintf("run %d of %d is attempt %d", i+1, n, i+1), "attempt %d", r.Job.Attempt)
			}
			if i == 0 {
				continue
			}
			if gap := r.Began.Sub(runs[i-1].Ended); gap < s.soon().First-p.h.Skew {
				p.fail(fmt.Sprintf("%v before attempt %d", s.soon().First, i+1), "%v", gap)
			}
		}
	}
}

func (s *subject) extremeBackoffs(claim core.Claim) {
	p := s.p
	if !s.honours(core.OptionMaxAttempts) {
		p.notApplicable("the number of attempts cannot be set")
	}
	for _, d := range spans {
		opts := []core.Option{core.MaxAttempts(2), core.Backoff(core.Fixed(d))}
		if !p.bubble && d > time.Second || d > 40*24*time.Hour { // too long to be waited for
			s.taken(fmt.Sprint("a backoff of ", d), s.make(nil, opts...))
			continue
		}
		if !p.bubble && d > 1 {
			continue // P05 and P11 measure these
		}
		j := s.make(failing, opts...)
		if !s.taken(fmt.Sprint("a backoff of ", d), j) {
			continue
		}
		runs := s.awaitEnd(j, 2, d+claim.Granularity+p.patience())
		if gap := runs[1].Began.Sub(runs[0].Ended); gap < d-p.h.Skew || gap > d+claim.Granularity+p.slack() {
			p.fail(fmt.Sprintf("%v between attempts", d), "%v", gap)
		}
	}
	if !p.bubble {
		return
	}
	const first, most, n = time.Minute, 50 * time.Hour, 14
	j := s.make(failing, core.MaxAttempts(n), core.Backoff(core.Exponential(first, most)))
	s.push(single, j)
	runs := s.awaitEnd(j, n, n*(most+claim.Granularity+p.patience()))
	for i := 1; i < n; i++ {
		gap, want := runs[i].Began.Sub(runs[i-1].Ended), min(most, first<<(i-1))
		if gap < want/2-p.h.Skew || gap > want+claim.Granularity+p.slack() {
			p.fail(fmt.Sprintf("%v to %v before attempt %d with a backoff of %v to %v", want/2, want, i+1, first, most), "%v", gap)
		}
	}
}

// extremeTimes compares the deadlines of contexts with timeouts and deadlines.
func (s *subject) extremeTimes(claim core.Claim) {
	p := s.p
	for _, d := range spans {
		if d < time.Minute {
			continue // P05 and P13 look at short ones
		}
		opt, what := core.Timeout(d), "a timeout of "
		if p.caseOf == string(core.OptionDeadline) {
			opt, what = core.Deadline(time.Now().Add(d).In(time.FixedZone("odd", -9*3600-30*60))), "a deadline in "
		}
		var end time.Time // guarded by s.mu
		j := s.make(func(r *run) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			end, _ = r.ctx.Deadline()
			return nil
		}, opt)
		began := time.Now()
		if !s.taken(fmt.Sprint(what, d), j) {
			continue
		}
		r := s.awaitEnd(j, 1, p.patience())[0]
		s.mu.Lock()
		got := end
		s.mu.Unlock()
		least, most := began.Add(d), r.Began.Add(d+claim.Granularity+p.h.Skew)
		if opt := j.in.Options.Deadline; !opt.IsZero() {
			least, most = opt, opt.Add(claim.Granularity+p.h.Skew)
		}
		if got.IsZero() || got.Before(least.Add(-p.h.Skew-time.Millisecond)) || got.After(most.Add(time.Millisecond)) {
			p.fail(fmt.Sprintf("the context ends at the end of %s%v, between %v and %v", what, d, least, most), "%v", got)
		}
	}
}

// extremeHeaders sends headers up to the limit of core, 32 KiB for all keys and values.
func (s *subject) extremeHeaders() {
	const limit = 32 << 10
	var jobs []job
	add := func(what string, opts ...core.Option) {
		in, err := s.ledger.rawJob.Intent(nil, opts...)
		if err != nil {
			s.p.broken("intent: %v", err)
		}
		j := job{s.newRef(), in}
		s.expect(j.ref, in, nil)
		if s.taken(what, j) {
			jobs = append(jobs, j)
		}
	}
	for _, n := range []int{0, 1, 127, 128, 255, 256, 257, 1023, 1024, 4095, 4096, 4097, 8191, 16383, 16385, 32000, limit - 4} {
		add(fmt.Sprintf("a header of %d bytes", n), core.Header("Size", pattern(n)))
	}
	add("a header that is not ASCII", core.Header("Text", strings.Repeat("é世👋", 700)))
	many := make([]core.Option, 1000)
	for i := range many {
		many[i] = core.Header(fmt.Sprintf("K-%d", i), fmt.Sprint("value ", i))
	}
	add("a thousand headers", many...)
	add("a long key", core.Header("K"+strings.Repeat("k", longestHeaderKey-1), "value"))
	add("values that differ in the middle", core.Header("One", pattern(3000)+"1"+pattern(3000)), core.Header("Two", pattern(3000)+"2"+pattern(3000)))
	s.awaitRuns(jobs)
	for _, j := range jobs {
		want := map[string]string{}
		for k, v := range j.in.Headers().All() {
			want[k] = v
		}
		for _, r := range s.runsOf(j.ref) {
			s.sameHeaders(want, r.Job.Headers)
		}
	}
}

// pattern returns n bytes of text in which no part is like another one.
func pattern(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%d.", i)
	}
	return b.String()[:n]
}

func payloadsExact(p *probe) {
	s := p.open(Setup{})
	most := s.caps.MaxPayload
	if most == 0 || most > 100<<10 {
		most = 100 << 10
	}
	var payloads [][]byte
	text := func(n int, middle string) {
		if n > most || n < len(middle)+2 {
			return
		}
		b := []byte(`"` + pattern(n-2) + `"`)
		copy(b[n/2-len(middle)/2:], middle)
		payloads = append(payloads, b)
	}
	for _, n := range []int{127, 128, 255, 256, 511, 512, 1023, 1024, 1025, 2048, 4095, 4096, 4097, 8192, 16384, 32767, 32768, 65535, 65536, 65537, most} {
		text(n, "")
	}
	for _, n := range []int{300, 5000, 70_000, most} { // pairs that differ in the middle
		text(n, "one")
		text(n, "two")
	}
	wide := strings.Repeat("é世👋", most/20)
	for shift := range 4 { // a character lies across every border
		payloads = append(payloads, []byte(`"`+strings.Repeat("x", shift)+wide+`"`))
	}
	for i, m := range modes {
		var jobs []job
		for k := i; k < len(payloads); k += len(modes) {
			jobs = append(jobs, s.makeRaw(payloads[k]))
		}
		s.accept(m, jobs...)
		s.awaitRuns(jobs)
		for _, j := range jobs {
			for _, r := range s.runsOf(j.ref) {
				if sent := j.in.Payload(); !p.samePayload(sent, r.Body) {
					p.fail(fmt.Sprintf("a payload of %d bytes arrives unchanged", len(sent)), "%d bytes, the first other one is %d", len(r.Body), firstOther(sent, r.Body))
				}
			}
		}
	}
}

func firstOther(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}
