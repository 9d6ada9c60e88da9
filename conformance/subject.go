package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// subject is a system under test with its ledger.
type subject struct {
	*ledger
	p     *probe
	sys   System
	caps  core.Capabilities
	setup Setup

	lives   atomic.Int32
	patient time.Duration // if it is more than the probe's patience
	busy    bool          // some slots are not free when the check is over
}

// open makes a new system, in a new namespace unless s has one. The handlers are for
// further tasks of the check.
func (p *probe) open(s Setup, handlers ...worker.Handler) *subject {
	return p.openWith(s, nil, handlers...)
}

// openWith is open with a middleware around every handler.
func (p *probe) openWith(s Setup, m worker.Middleware, handlers ...worker.Handler) *subject {
	return p.openFor(s, nil, m, handlers...)
}

// openFor is openWith for a system that may run jobs of another one as soon as it is
// there: prepare lets it know them.
func (p *probe) openFor(s Setup, prepare func(*ledger), m worker.Middleware, handlers ...worker.Handler) *subject {
	p.mu.Lock()
	p.systems++
	n := p.systems
	if s.Namespace == "" {
		s.Namespace = p.namespace(n)
	}
	p.mu.Unlock()
	l := newLedger(p, n, s)
	parts := []worker.Part{worker.Handle(l.job, l.job.Func()), worker.Handle(l.rawJob, l.rawJob.Func())}
	for _, h := range handlers {
		parts = append(parts, h)
	}
	if m != nil {
		parts = append(parts, m)
	}
	if p.watch != nil {
		parts = append(parts, p.watch)
	}
	reg, err := worker.NewRegistry(parts...)
	if err != nil {
		p.broken("registry: %v", err)
	}
	s.Registry, s.Logger = reg, p.secret.logger()
	sub := &subject{ledger: l, p: p, setup: s}
	if prepare != nil {
		prepare(l)
	}
	leave := p.enter("Harness.New for system %d", n)
	sys := p.h.New(harnessT{p}, s)
	leave()
	switch {
	case sys.Exec == nil:
		p.broken("harness: System.Exec is nil")
	case s.Paused && sys.Start == nil && !sys.Inline && !p.mayRun:
		p.notRun("the harness has no System.Start: a worker cannot be held back")
	case !s.Paused || sys.Start == nil:
		sub.setLife(running)
	}
	sub.sys, sub.caps = sub.watch(sys), sys.Caps
	l.claims.Store(&sys.Caps)
	l.inline.Store(sys.Inline)
	e := Event{Kind: EventOpen, System: n, Text: s.Namespace}
	if sys.Inline {
		e.State = "inline"
	}
	p.hist.add(e)
	p.mu.Lock()
	p.result.claims = &sys.Caps
	p.opened = append(p.opened, sub)
	p.mu.Unlock()
	return sub
}

// lifetime says whether a system's worker runs.
type lifetime int32

const (
	held    lifetime = iota // not started
	running                 // started
	stopped                 // stopped or killed, or about to be
)

func (s *subject) life() lifetime { return lifetime(s.lives.Load()) }

// setLife does not bring a stopped worker back to life.
func (s *subject) setLife(to lifetime) {
	if s.life() != stopped {
		s.lives.Store(int32(to))
	}
}

// serves reports whether the worker serves a queue.
func (s *subject) serves(queue string) bool {
	return slices.Contains(s.setup.Queues, queue) || len(s.setup.Queues) == 0 && queue == ""
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
	case core.SupportNative, core.SupportEmulated:
		return true
	}
	return false
}

// takes reports whether the option is accepted, even if there is nothing to do for it.
func (s *subject) takes(name core.OptionName) bool {
	return s.caps.Options[name].Support != core.SupportRefused
}

// need ends the check with the right verdict unless the option is honoured.
func (s *subject) need(name core.OptionName) core.Claim {
	claim := s.caps.Options[name]
	switch claim.Support {
	case core.SupportRefused:
		s.p.refused(string(name))
	case core.SupportNotApplicable:
		s.p.notApplicable("option %s: %s", name, claim.Reason)
	}
	return claim
}

// job is an intent and the suite's name for it.
type job struct {
	ref string
	in  core.Intent
}

// refusesTogether reports whether the executor declares to refuse this intent because
// two of its options exclude each other (Capabilities.Refuse). The executor must then
// really refuse it.
func (s *subject) refusesTogether(j job) bool {
	if !errors.Is(s.caps.Check(j.in), core.ErrUnsupported) {
		return false
	}
	if o := s.send(single, j)[0]; o.State != core.Rejected || !errors.Is(o.Err, core.ErrUnsupported) {
		s.p.fail("options that are declared to exclude each other are rejected with ErrUnsupported", "%v: %v", o.State, o.Err)
	}
	return true
}

// newRef returns run-system-number, which is unique within the check. All refs have
// the same length, so that equal calls have equal size on the wire.
func (l *ledger) newRef() string {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	l.p.refs++
	return fmt.Sprintf("%s-%d-%05d", l.p.check.id, l.system, l.p.refs)
}

// make makes a job that the ledger knows. With a nil plan it succeeds immediately.
func (s *subject) make(plan handler, opts ...core.Option) job {
	return s.makeBody(plan, nil, opts...)
}

func (s *subject) makeBody(plan handler, body json.RawMessage, opts ...core.Option) job {
	ref := s.newRef()
	in, err := s.ledger.job.Intent(jobArgs{Secret: s.p.secret.canary, Ref: ref, Body: body}, opts...)
	if err == nil {
		in = s.load(in, plan == nil)
	}
	if err == nil && in.Headers().Len() > 0 && in.Headers().Len() < 100 {
		in, err = in.With(core.Header(secretKey, s.p.secret.canary))
	}
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

// mode says how jobs are dispatched: with one call each, or with one call for all.
type mode string

const (
	single mode = "single"
	batch  mode = "batch"
)

var modes = []mode{single, batch}

// dispatch calls the executor. It records the intents and the outcomes, and turns a
// panic into a verdict.
func (s *subject) dispatch(ctx context.Context, jobs ...job) ([]core.Outcome, error) {
	return s.dispatchBy(s.sys.Exec, ctx, jobs...)
}

func (s *subject) dispatchBy(exec core.Executor, ctx context.Context, jobs ...job) ([]core.Outcome, error) {
	for _, j := range jobs {
		e := Event{Kind: EventInvoke, System: s.system, Ref: j.ref, ID: j.in.ID, Options: eventOptions(&j.in)}
		if t := j.in.Task; t != jobTaskName && t != rawTaskName {
			e.Task = t
		}
		s.p.hist.add(e)
		s.p.sent.note(j.ref, j.in)
	}
	s.p.sent.called(ctx)
	ins := intentsOf(jobs)
	err := s.callExec(exec, ctx, ins...)
	s.p.secret.look("the error of a dispatch", err)
	outs := core.OutcomesOf(err, intentsOf(jobs))
	clear(ins) // the slice belongs to the caller, who may use it again
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

// send dispatches jobs in the given mode.
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

// accept is send, and every job must be accepted.
func (s *subject) accept(m mode, jobs ...job) {
	for i, o := range s.send(m, jobs...) {
		if o.State != core.Accepted {
			s.p.fail("every job is accepted, "+string(m), "%s: %v: %v", jobs[i].ref, o.State, o.Err)
		}
	}
}

// push is accept for jobs whose handlers fail on purpose. If the executor runs them
// itself, their outcome is Failed.
func (s *subject) push(m mode, jobs ...job) {
	for i, o := range s.send(m, jobs...) {
		if o.State != core.Accepted && !(s.sys.Inline && (o.State == core.Failed || o.State == core.NotSent)) {
			s.p.fail("every job is accepted, "+string(m), "%s: %v: %v", jobs[i].ref, o.State, o.Err)
		}
	}
}

// patience is how long nothing may happen while a check waits for jobs.
func (s *subject) patience() time.Duration { return max(s.patient, s.p.patience()) }

// awaitRuns waits until every job has run once. It fails if no further job has run
// within the time that one job may take. So it does not matter how many jobs there
// are.
func (s *subject) awaitRuns(jobs []job) {
	patience := s.patience()
	if !s.awaitAll(patience, len(jobs), s.countRuns(jobs)) {
		n, missing := s.ran(refsOf(jobs))
		s.p.fail("every accepted job runs", "%d of %d ran, and no further one within %v; %s did not; %s", n, len(jobs), patience, missing, s.p.notStarted())
	}
}

// awaitEnd waits until n runs of a job have ended, and returns them.
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

// quiet waits until a job that it sends now has run, and then for the settle time.
// After that no further run is expected.
func (s *subject) quiet() {
	fence := s.make(nil)
	s.accept(single, fence)
	for before := -1; s.count(fence.ref) == 0; { // many jobs may be before it
		now := s.starts()
		if now == before {
			s.awaitRuns([]job{fence})
		}
		before = now
		s.await(s.patience(), func() bool { return s.starts() > before })
	}
	s.hush()
}

// hush is quiet without a job, for workers that may have stopped.
func (s *subject) hush() {
	s.mu.Lock()
	slowest := s.slowest
	s.mu.Unlock()
	if s.p.bubble {
		slowest = 0
	}
	s.p.sleep(max(s.p.settle(), min(3*slowest, 5*s.p.settle())))
}

// sentinels are the errors that errors.Is may find on a dispatch error.
var sentinels = map[string]error{
	"ErrInvalid": core.ErrInvalid, "ErrUnsupported": core.ErrUnsupported, "ErrTooLarge": core.ErrTooLarge,
	"ErrDuplicate": core.ErrDuplicate, "ErrNotSent": core.ErrNotSent, "ErrUnknownOutcome": core.ErrUnknownOutcome,
	"ErrClosed": core.ErrClosed, "ErrNoHandler": core.ErrNoHandler,
}

var errOnPurpose = errors.New("failed on purpose")

func failing(*run) error { return errOnPurpose }
