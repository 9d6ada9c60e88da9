package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/goairlock/airlock/core"
)

// subject is a system under test with its ledger.
type subject struct {
	*ledger
	p     *probe
	sys   System
	caps  core.Capabilities
	setup Setup

	patient time.Duration // where it is more than the probe's patience
}

// open makes a fresh system in a namespace of its own. Further handlers serve
// tasks of the check.
func (p *probe) open(s Setup, handlers ...core.Handler) *subject {
	return p.openWith(s, nil, handlers...)
}

// openWith is open with a middleware around every handler.
func (p *probe) openWith(s Setup, m core.Middleware, handlers ...core.Handler) *subject {
	p.mu.Lock()
	p.systems++
	n := p.systems
	p.mu.Unlock()
	l := newLedger(p, n)
	if s.Namespace == "" {
		s.Namespace = p.namespace(n)
	}
	handlers = append(handlers, l.job.Handler(), l.rawJob.Handler())
	reg, err := core.NewRegistry(handlers...)
	if err != nil {
		p.broken("registry: %v", err)
	}
	if m != nil {
		if err := reg.Use(m); err != nil {
			p.broken("registry: %v", err)
		}
	}
	s.Registry = reg
	sys := p.h.New(harnessT{p}, s)
	if sys.Exec == nil {
		p.broken("harness: System.Exec is nil")
	}
	if s.Paused && sys.Start == nil && !sys.Inline {
		p.notRun("the harness has no System.Start: a worker cannot be held back")
	}
	p.mu.Lock()
	p.result.claims = &sys.Caps
	p.mu.Unlock()
	return &subject{ledger: l, p: p, sys: sys, caps: sys.Caps, setup: s}
}

func (p *probe) namespace(n int) string {
	return fmt.Sprintf("%s%06x%d", lower(p.check.id), p.rand.Uint32()&0xffffff, n)
}

func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// start starts the worker that was held back.
func (s *subject) start() {
	if s.sys.Start == nil {
		return
	}
	if err := s.sys.Start(s.p.ctx); err != nil {
		s.p.broken("harness: System.Start: %v", err)
	}
}

func (s *subject) honours(name core.OptionName) bool {
	switch s.caps.Options[name].Support {
	case core.Native, core.Emulated:
		return true
	}
	return false
}

// need ends the check with the verdict that fits unless the option is honoured.
func (s *subject) need(name core.OptionName) core.Claim {
	claim := s.caps.Options[name]
	switch claim.Support {
	case core.Refused:
		s.p.refused(string(name))
	case core.NotApplicable:
		s.p.notApplicable("option %s: %s", name, claim.Reason)
	}
	return claim
}

// job is an intent of the suite's job task and the name the suite knows it by.
type job struct {
	ref string
	in  core.Intent
}

// refusesTogether reports that the executor declares to refuse this intent,
// each of whose options it takes by itself: two that exclude each other, which
// Capabilities.Refuse tells. The declaration is held against the executor.
func (s *subject) refusesTogether(j job) bool {
	if !errors.Is(s.caps.Check(j.in), core.ErrUnsupported) {
		return false
	}
	if o := s.send(single, j)[0]; o.State != core.Rejected || !errors.Is(o.Err, core.ErrUnsupported) {
		s.p.fail("options that are declared to exclude each other are rejected with ErrUnsupported", "%v: %v", o.State, o.Err)
	}
	return true
}

// newRef returns run-producer-number, unique within the check. All have one
// length, so that equal calls are of equal size on the wire.
func (l *ledger) newRef() string {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	l.p.refs++
	return fmt.Sprintf("%s-%d-%05d", l.p.check.id, l.system, l.p.refs)
}

// make makes a job that the ledger knows. A nil plan succeeds at once.
func (s *subject) make(plan handler, opts ...core.Option) job {
	return s.makeBody(plan, nil, opts...)
}

func (s *subject) makeBody(plan handler, body json.RawMessage, opts ...core.Option) job {
	ref := s.newRef()
	in, err := s.ledger.job.Intent(jobArgs{Ref: ref, Body: body}, opts...)
	if err != nil {
		s.p.broken("intent: %v", err)
	}
	s.expect(ref, in, plan)
	return job{ref, in}
}

func (s *subject) makeRaw(payload []byte, opts ...core.Option) job {
	ref := s.newRef()
	in, err := s.rawJob.Intent(payload, opts...)
	if err != nil {
		s.p.broken("intent: %v", err)
	}
	s.expect(ref, in, nil)
	return job{ref, in}
}

func (s *subject) makeN(n int, opts ...core.Option) []job {
	jobs := make([]job, n)
	for i := range jobs {
		jobs[i] = s.make(nil, opts...)
	}
	return jobs
}

func refsOf(jobs []job) []string {
	refs := make([]string, len(jobs))
	for i := range jobs {
		refs[i] = jobs[i].ref
	}
	return refs
}

func intentsOf(jobs []job) []core.Intent {
	ins := make([]core.Intent, len(jobs))
	for i := range jobs {
		ins[i] = jobs[i].in
	}
	return ins
}

// mode is how intents are handed over: one call each, or one call for all.
type mode string

const (
	single mode = "single"
	batch  mode = "batch"
)

var modes = []mode{single, batch}

// dispatch is the only way in which the suite calls an executor: it records
// what goes in and what comes out and turns a panic into a verdict.
func (s *subject) dispatch(ctx context.Context, jobs ...job) ([]core.Outcome, error) {
	return s.dispatchBy(s.sys.Exec, ctx, jobs...)
}

func (s *subject) dispatchBy(exec core.Executor, ctx context.Context, jobs ...job) ([]core.Outcome, error) {
	for _, j := range jobs {
		s.p.hist.add(Event{Kind: EventInvoke, System: s.system, Ref: j.ref, ID: j.in.ID})
	}
	ins := intentsOf(jobs)
	err := s.callExec(exec, ctx, ins...)
	outs := core.OutcomesOf(err, intentsOf(jobs))
	for i, o := range outs {
		text := ""
		if o.Err != nil {
			text = o.Err.Error()
		}
		s.p.hist.add(Event{Kind: EventOutcome, System: s.system, Ref: jobs[i].ref, ID: o.ID, State: o.State.String(), Text: text})
	}
	return outs, err
}

func (s *subject) callExec(exec core.Executor, ctx context.Context, ins ...core.Intent) (err error) {
	defer func() {
		if v := recover(); v != nil {
			s.p.decide(Fail, Panicked, "an executor never panics", fmt.Sprintf("%v\n%s", v, debug.Stack()))
			s.p.endIfDecided()
		}
	}()
	return exec(ctx, ins...)
}

// send hands jobs over in the given mode.
func (s *subject) send(m mode, jobs ...job) []core.Outcome {
	if m == batch {
		outs, _ := s.dispatch(s.p.ctx, jobs...)
		return outs
	}
	outs := make([]core.Outcome, 0, len(jobs))
	for _, j := range jobs {
		one, _ := s.dispatch(s.p.ctx, j)
		outs = append(outs, one...)
	}
	return outs
}

// accept is send where every job must be accepted.
func (s *subject) accept(m mode, jobs ...job) {
	for i, o := range s.send(m, jobs...) {
		if o.State != core.Accepted {
			s.p.fail("every job is accepted, "+string(m), "%s: %v: %v", jobs[i].ref, o.State, o.Err)
		}
	}
}

// push is accept for jobs whose handlers fail on purpose: where the executor
// runs them itself that is their outcome.
func (s *subject) push(m mode, jobs ...job) {
	for i, o := range s.send(m, jobs...) {
		if o.State != core.Accepted && !(s.sys.Inline && (o.State == core.Failed || o.State == core.NotSent)) {
			s.p.fail("every job is accepted, "+string(m), "%s: %v: %v", jobs[i].ref, o.State, o.Err)
		}
	}
}

// patience is how long nothing may happen while jobs are waited for.
func (s *subject) patience() time.Duration { return max(s.patient, s.p.patience()) }

// awaitRuns waits until every job has run once. It gives up when none of those
// that are missing has run for the time that one job may take: how many there
// are, and how busy the machine is, must not decide.
func (s *subject) awaitRuns(jobs []job) {
	refs := refsOf(jobs)
	patience := s.patience()
	for before := -1; ; {
		n, missing := s.ran(refs)
		switch n {
		case len(refs):
			return
		case before:
			s.p.fail("every accepted job runs", "%d of %d ran, and none more within %v; %s did not", n, len(refs), patience, missing)
		}
		before = n
		s.await(patience, func() bool { now, _ := s.ran(refs); return now > before })
	}
}

// awaitEnd waits until so many runs of a job have ended, and returns the first
// of its runs that have.
func (s *subject) awaitEnd(j job, n int, within time.Duration) []run {
	s.await(within, func() bool { return len(ended(s.runsOf(j.ref))) >= n })
	runs := s.runsOf(j.ref)
	done := ended(runs)
	if len(done) < n {
		s.p.fail(fmt.Sprintf("%d runs of a job", n), "%d runs, %d of them ended, within %v", len(runs), len(done), within)
	}
	return done[:n]
}

func ended(runs []run) []run {
	var done []run
	for i := range runs {
		if !runs[i].Ended.IsZero() {
			done = append(done, runs[i])
		}
	}
	return done
}

// quiet waits until silence means something: a marker sent now has run, and
// then nothing more is heard of for the settle time.
func (s *subject) quiet() {
	fence := s.make(nil)
	s.accept(single, fence)
	for before := -1; s.count(fence.ref) == 0; { // there may be much before it
		now := s.starts()
		if now == before {
			s.awaitRuns([]job{fence})
		}
		before = now
		s.await(s.patience(), func() bool { return s.starts() > before })
	}
	s.hush()
}

// hush is quiet without the marker, where the worker cannot take one.
func (s *subject) hush() {
	s.mu.Lock()
	slowest := s.slowest
	s.mu.Unlock()
	if s.p.bubble {
		slowest = 0
	}
	s.p.sleep(max(s.p.settle(), min(3*slowest, 5*s.p.settle())))
}

// sentinels are what errors.Is may find on a dispatch error.
var sentinels = map[string]error{
	"ErrInvalid": core.ErrInvalid, "ErrUnsupported": core.ErrUnsupported, "ErrTooLarge": core.ErrTooLarge,
	"ErrDuplicate": core.ErrDuplicate, "ErrNotSent": core.ErrNotSent, "ErrUnknownOutcome": core.ErrUnknownOutcome,
	"ErrClosed": core.ErrClosed, "ErrNoHandler": core.ErrNoHandler,
}

var errOnPurpose = errors.New("failed on purpose")

func failing(*run) error { return errOnPurpose }
