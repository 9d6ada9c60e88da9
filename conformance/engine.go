package conformance

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// check is one row of the suite's table.
type check struct {
	id    string
	level Level
	title string // the property, in one line
	why   string // what breaks in production without it
	cases []string
	run   func(p *probe)
	limit time.Duration // before Scale and Effort; 0 is 20 s
	alone bool          // disturbs what others use: not beside other checks
}

// probe runs one check: it is the check's T, and by its harnessT the harness's.
type probe struct {
	h      *Harness
	check  *check
	caseOf string
	bubble bool
	ctx    context.Context
	rand   *rand.Rand
	seed   uint64
	hist   *recorder

	mu       sync.Mutex
	result   Result
	decided  chan struct{} // closed with the first verdict
	cleanups []func()
	systems  int
	refs     int
}

// runCheck runs one case of a check. In a bubble t must not be nil.
func runCheck(ctx context.Context, h *Harness, c *check, caseOf string, seed uint64, t *testing.T) Result {
	if h.InBubble && t != nil && !c.alone {
		return runInBubble(h, c, caseOf, seed, t)
	}
	p := newProbe(ctx, h, c, caseOf, seed, false)
	p.execute(ctx)
	return p.result
}

func runInBubble(h *Harness, c *check, caseOf string, seed uint64, t *testing.T) (r Result) {
	began := time.Now()
	defer func() {
		r.Millis = time.Since(began).Milliseconds()
		if v := recover(); v != nil {
			// The bubble found goroutines that nothing can wake any more.
			r.Leaked = true
			r.Log = append(r.Log, fmt.Sprint(v))
			if c.id == leakCheck && r.Verdict == Pass {
				r.Verdict, r.Kind, r.Want, r.Got = Fail, Assertion, "no goroutine left behind", fmt.Sprint(v)
			}
		}
	}()
	synctest.Test(t, func(*testing.T) {
		p := newProbe(context.Background(), h, c, caseOf, seed, true)
		p.execute(context.Background())
		r = p.result
	})
	return r
}

func newProbe(ctx context.Context, h *Harness, c *check, caseOf string, seed uint64, bubble bool) *probe {
	name := fnv.New64a()
	fmt.Fprint(name, c.id, caseOf)
	return &probe{
		h: h, check: c, caseOf: caseOf, bubble: bubble, seed: seed, ctx: ctx,
		rand: rand.New(rand.NewPCG(seed, name.Sum64())),
		hist: &recorder{begin: time.Now()}, decided: make(chan struct{}),
		result: Result{ID: c.id, Case: caseOf, Level: c.level, Title: c.title, Seed: seed},
	}
}

// execute runs the check on a goroutine of its own until it ends or its time is
// up, and then the cleanups.
func (p *probe) execute(parent context.Context) {
	limit := p.check.limit
	if limit == 0 {
		limit = 20 * time.Second
	}
	limit = p.scaled(limit) * time.Duration(p.h.effort())
	if p.bubble {
		limit = 1000 * time.Hour
	}
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	p.ctx = ctx
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.contain(func() { p.check.run(p) })
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
		p.decide(Pass, "", "", "")
	case <-timer.C:
		p.decide(Fail, TimedOut, "the check comes to its end", fmt.Sprintf("still under way after %v", limit))
	case <-parent.Done():
		p.decide(Error, "", "", "the caller's context ended: "+parent.Err().Error())
	}
	cancel()
	p.cleanup(limit)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.result.events = p.hist.all()
	t := tally(p.result.events)
	p.result.Evidence = &t
	now := time.Now()
	p.result.Millis = now.Sub(p.hist.begin).Milliseconds()
	if p.result.Verdict == Fail {
		p.result.Why = p.check.why
		p.result.excuse(clockSet(p.hist.begin, now))
	}
}

// excuse makes a failure inconclusive if the clock was set while the check ran:
// what was due at a time then came too early or too late.
func (r *Result) excuse(set time.Duration) {
	if r.Kind == Panicked || set.Abs() < 50*time.Millisecond {
		return
	}
	r.Verdict, r.Reason = Inconclusive, fmt.Sprintf("the clock was set by %v meanwhile. Wanted %s, got %s", set, r.Want, r.Got)
	r.Kind, r.Want, r.Got, r.Why = "", "", "", ""
}

// clockSet is by how much the wall clock was set between two readings, as it is
// on a machine that was asleep or is a copy of one.
func clockSet(begin, end time.Time) time.Duration {
	return end.Round(0).Sub(begin.Round(0)) - end.Sub(begin) // Round takes the monotonic reading away
}

func (p *probe) cleanup(limit time.Duration) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			p.mu.Lock()
			n := len(p.cleanups)
			if n == 0 {
				p.mu.Unlock()
				return
			}
			f := p.cleanups[n-1]
			p.cleanups = p.cleanups[:n-1]
			p.mu.Unlock()
			p.contain(f)
		}
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		p.mu.Lock()
		p.result.Log = append(p.result.Log, fmt.Sprintf("cleanup still under way after %v", limit))
		p.mu.Unlock()
	}
}

// contain calls f and turns a panic, or a Goexit that no verdict caused, into
// one.
func (p *probe) contain(f func()) {
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		ok := false
		defer func() {
			if v := recover(); v != nil {
				p.decide(Fail, Panicked, "no panic", fmt.Sprintf("%v\n%s", v, debug.Stack()))
			} else if !ok {
				p.decide(Fail, Panicked, "no runtime.Goexit", "a goroutine of the check was ended")
			}
		}()
		f()
		ok = true
	}()
	<-returned
}

// decide keeps the first verdict.
func (p *probe) decide(v Verdict, k Kind, want, got string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.result.Verdict != "" {
		return
	}
	p.result.Verdict, p.result.Kind = v, k
	if v == Fail {
		p.result.Want, p.result.Got = want, got
	} else {
		p.result.Reason = got
	}
	close(p.decided)
}

func (p *probe) end(v Verdict, format string, args ...any) {
	p.decide(v, "", "", fmt.Sprintf(format, args...))
	runtime.Goexit()
}

// fail ends the check: want is what should have been, got what was.
func (p *probe) fail(want, format string, args ...any) {
	p.decide(Fail, Assertion, want, fmt.Sprintf(format, args...))
	runtime.Goexit()
}

func (p *probe) notRun(format string, args ...any)        { p.end(NotRun, format, args...) }
func (p *probe) inconclusive(format string, args ...any)  { p.end(Inconclusive, format, args...) }
func (p *probe) notApplicable(format string, args ...any) { p.end(NotApplicable, format, args...) }
func (p *probe) broken(format string, args ...any)        { p.end(Error, format, args...) }

func (p *probe) refused(option string) { p.end(RefusedAsDeclared, "option %s is refused", option) }

func (p *probe) logf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.result.Log = append(p.result.Log, fmt.Sprintf(format, args...))
}

// witness counts that something provoked did happen.
func (p *probe) witness(what string, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.result.Witness == nil {
		p.result.Witness = map[string]int{}
	}
	p.result.Witness[what] += n
}

// together runs f n times at once and waits; a verdict reached in one of them
// ends the check.
func (p *probe) together(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { p.contain(func() { f(i) }) })
	}
	wg.Wait()
	p.endIfDecided()
}

func (p *probe) endIfDecided() {
	select {
	case <-p.decided:
		runtime.Goexit()
	default:
	}
}

func (h *Harness) effort() int { return max(h.times, 1) }

// rounds is how often a check repeats what it provokes.
func (p *probe) rounds(n int) int { return n * p.h.effort() }

// affords ends the check if what it has to wait for takes longer than the run
// is worth.
func (p *probe) affords(what string, d time.Duration) { p.affordsUpTo(worth, what, d) }

func (p *probe) affordsUpTo(most time.Duration, what string, d time.Duration) {
	if d > most*time.Duration(p.h.effort()) {
		p.notRun("%s takes %v: run with an effort of %d", what, d.Round(time.Second), int(d/most)+1)
	}
}

// worth is what one thing may be waited for, times the effort.
const worth = 20 * time.Second

func (p *probe) worth() time.Duration { return worth * time.Duration(p.h.effort()) }

func (h *Harness) scale() float64 {
	if h.Scale <= 0 {
		return 1
	}
	return h.Scale
}

func (p *probe) scaled(d time.Duration) time.Duration {
	return time.Duration(float64(d) * p.h.scale())
}

// patience is how long something that must happen may take beyond its claim.
func (p *probe) patience() time.Duration {
	if p.bubble {
		return 10 * time.Minute
	}
	return p.scaled(5 * time.Second)
}

// slack is how much later than claimed something may start on a busy machine.
func (p *probe) slack() time.Duration {
	if p.bubble {
		return 5 * time.Millisecond
	}
	return p.patience() / 2
}

// settle is how long silence must last to be believed.
func (p *probe) settle() time.Duration {
	if p.bubble {
		return time.Minute
	}
	if p.h.Settle > 0 {
		return p.scaled(p.h.Settle)
	}
	return p.scaled(time.Second)
}

func (p *probe) retryWithin() time.Duration {
	return max(p.h.RetryWithin, p.patience())
}

// sleep waits, unless the check is over.
func (p *probe) sleep(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.decided:
		runtime.Goexit()
	case <-p.ctx.Done():
		p.end(Error, "the caller's context ended")
	}
}

// harnessT is the probe as a harness sees it.
type harnessT struct{ *probe }

func (t harnessT) Context() context.Context { return t.ctx }

func (t harnessT) Cleanup(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cleanups = append(t.cleanups, f)
}
func (t harnessT) Logf(format string, args ...any)   { t.logf(format, args...) }
func (t harnessT) Fatalf(format string, args ...any) { t.broken("harness: "+format, args...) }
