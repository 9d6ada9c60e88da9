package conformance

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goairlock/airlock/worker"
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
	bare  bool          // its jobs have the options that it gives them, and no others
	alone bool          // disturbs what other checks use, so no other check runs meanwhile
}

// probe runs one check. It is what the harness gets as its T (see harnessT).
type probe struct {
	h      *Harness
	check  *check
	caseOf string
	bubble bool
	ctx    context.Context
	rand   *rand.Rand
	seed   uint64
	hist   *recorder
	label  string // of the goroutines that this check starts
	secret *secrets
	sent   sentForms
	forms  errorForms
	loads  loads
	watch  worker.Observer // of the registries of systems that are opened from now on; nil for none

	released chan struct{} // closed when the check has returned: handlers that are held return
	decided  chan struct{} // closed with the first verdict

	mu        sync.Mutex
	result    Result
	cleanups  []func()
	hooks     map[int]hook
	lastHook  int
	opened    []*subject
	mayRun    bool     // a worker that cannot be held back does not end the check
	slotsLost []string // by the judgement at the end
	systems   int
	refs      int
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
	var p *probe
	var current atomic.Pointer[probe]
	defer func() {
		r.Millis = time.Since(began).Milliseconds()
		if v := recover(); v != nil {
			// Goroutines are left in the bubble that nothing can wake up.
			r.Leaked = true
			r.Log = append(r.Log, fmt.Sprint(v))
			if r.passing() {
				r.fail(c.leakKind(), wantNoGoroutine, fmt.Sprint(v, textOf(p.goroutines())))
			}
		}
	}()
	defer watchClock(h, c, caseOf, &current)()
	synctest.Test(t, func(*testing.T) {
		p = newProbe(context.Background(), h, c, caseOf, seed, true)
		current.Store(p)
		p.execute(context.Background())
		r = p.result
	})
	return r
}

var probes atomic.Int64

func newProbe(ctx context.Context, h *Harness, c *check, caseOf string, seed uint64, bubble bool) *probe {
	name := fnv.New64a()
	fmt.Fprint(name, c.id, caseOf)
	random := rand.New(rand.NewPCG(seed, name.Sum64()))
	return &probe{
		loads: loads{rand: rand.New(rand.NewPCG(seed, ^name.Sum64()))},
		h:     h, check: c, caseOf: caseOf, bubble: bubble, seed: seed, ctx: ctx,
		rand: random, secret: newSecrets(random.Uint64), label: fmt.Sprint(c.id, caseOf, probes.Add(1)),
		hist: &recorder{begin: time.Now()}, decided: make(chan struct{}), released: make(chan struct{}), hooks: map[int]hook{},
		result: Result{ID: c.id, Case: caseOf, Level: c.level, Title: c.title, Seed: seed},
	}
}

// execute runs the check on its own goroutine until it ends or its time is up. Then
// it runs the cleanups and judges the history and the goroutines.
func (p *probe) execute(parent context.Context) {
	limit := p.check.limit
	if limit == 0 {
		limit = 20 * time.Second
	}
	limit = p.scaled(limit) * time.Duration(p.h.effort())
	if p.bubble {
		limit = 100_000 * time.Hour
	}
	ctx, cancel := context.WithCancel(p.labelled(parent))
	defer cancel()
	p.ctx = ctx
	defer p.secret.watchLog()()
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.contain(func() {
			p.check.run(p)
			p.finishJobs()
		})
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
		p.decide(Pass, "", "", "")
	case <-timer.C:
		p.decide(Fail, TimedOut, "the check comes to its end", fmt.Sprintf("it is still running after %v: %s", limit, p.whatHangs()))
	case <-parent.Done():
		p.decide(Error, "", "", "the caller's context ended: "+parent.Err().Error())
	}
	cancel()
	finished := p.cleanup(limit)
	p.result.Leaked = p.judgeGoroutines(finished)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.result.events = p.hist.all()
	t, found := account(p.result.events)
	p.result.Evidence = &t
	p.judge(found)
	now := time.Now()
	p.result.Millis = now.Sub(p.hist.begin).Milliseconds()
	if p.result.Verdict == Fail {
		p.result.Why = p.check.why
		p.result.excuse(clockSet(p.hist.begin, now))
	}
}

// excuse makes a failure inconclusive if the clock was set while the check ran.
// Jobs that were due at a time then start too early or too late.
func (r *Result) excuse(set time.Duration) {
	if r.Kind == Panicked || set.Abs() < 50*time.Millisecond {
		return
	}
	r.Verdict, r.Reason = Inconclusive, fmt.Sprintf("the clock was set by %v during the check; wanted %s, got %s", set, r.Want, r.Got)
	r.Kind, r.Want, r.Got, r.Why = "", "", "", ""
}

// clockSet returns by how much the wall clock was set between two readings. This
// happens on a machine that has slept or is a copy of another one.
func clockSet(begin, end time.Time) time.Duration {
	return end.Round(0).Sub(begin.Round(0)) - end.Sub(begin) // Round takes the monotonic reading away
}

// cleanup runs the cleanups, and reports whether all of them have returned.
func (p *probe) cleanup(limit time.Duration) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.cleanupTo(0)
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		p.logf("the harness's cleanup is still running after %v: %s", limit, p.whatHangs())
		return false
	}
}

// cleanupTo runs the cleanups that were added after the first n, the last one first.
func (p *probe) cleanupTo(n int) {
	for {
		p.mu.Lock()
		last := len(p.cleanups) - 1
		if last < n {
			p.mu.Unlock()
			return
		}
		f := p.cleanups[last]
		p.cleanups = p.cleanups[:last]
		p.mu.Unlock()
		p.contain(func() {
			defer p.enter("a function given to T.Cleanup")()
			f()
		})
	}
}

// contain calls f on a goroutine with the check's label. A panic, or a Goexit that
// no verdict has caused, becomes the verdict.
func (p *probe) contain(f func()) {
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		pprof.SetGoroutineLabels(p.labelled(context.Background()))
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

// fail ends the check. It says what was wanted, and what was found instead.
func (p *probe) fail(want, format string, args ...any) {
	p.decide(Fail, Assertion, want, fmt.Sprintf(format, args...))
	runtime.Goexit()
}

func (p *probe) notRun(format string, args ...any)        { p.end(NotRun, format, args...) }
func (p *probe) inconclusive(format string, args ...any)  { p.end(Inconclusive, format, args...) }
func (p *probe) notApplicable(format string, args ...any) { p.end(NotApplicable, format, args...) }
func (p *probe) broken(format string, args ...any)        { p.end(Error, format, args...) }

// lacks ends the check, which needs something that the harness does not have.
func (p *probe) lacks(field string) {
	reason := "the harness has no " + field
	if why := p.h.Lacks[field]; why != "" {
		reason += ": " + why
	}
	p.notRun("%s", reason)
}

func (p *probe) refused(option string) { p.end(RefusedAsDeclared, "option %s is refused", option) }

func (p *probe) logf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.result.Log = append(p.result.Log, fmt.Sprintf(format, args...))
}

// witness counts how often something that the check provokes has happened.
func (p *probe) witness(what string, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.result.Witness == nil {
		p.result.Witness = map[string]int{}
	}
	p.result.Witness[what] += n
}

// together runs f n times at once and waits. A verdict of one of them ends the check.
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

// rounds is how often a check repeats something.
func (p *probe) rounds(n int) int { return n * p.h.effort() }

// affords ends the check if it would have to wait for longer than the effort allows.
func (p *probe) affords(what string, d time.Duration) { p.affordsUpTo(worth, what, d) }

func (p *probe) affordsUpTo(most time.Duration, what string, d time.Duration) {
	if d > most*time.Duration(p.h.effort()) {
		p.notRun("%s takes %v: run with an effort of %d", what, d.Round(time.Second), int(d/most)+1)
	}
}

// worth is how long a check may wait for one thing, times the effort.
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

// patience is how much longer than declared something may take.
func (p *probe) patience() time.Duration {
	if p.bubble {
		return 10 * time.Minute
	}
	return p.scaled(5 * time.Second)
}

// slack is how much later than declared a job may start on a busy machine.
func (p *probe) slack() time.Duration {
	if p.bubble {
		return 5 * time.Millisecond
	}
	return p.patience() / 2
}

// settle is how long nothing must happen before the suite believes that nothing will.
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

// sleep waits, and ends the goroutine if the check is over.
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

// harnessT is the probe as the harness's T.
type harnessT struct{ *probe }

func (t harnessT) Context() context.Context { return t.ctx }

func (t harnessT) Cleanup(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cleanups = append(t.cleanups, f)
}
func (t harnessT) Logf(format string, args ...any)   { t.logf(format, args...) }
func (t harnessT) Fatalf(format string, args ...any) { t.broken("harness: "+format, args...) }
