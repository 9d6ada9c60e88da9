package conformance

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

var errorChecks = []check{
	{id: "X01", level: Core, run: doneContext,
		title: "nothing is sent if the context is done",
		why:   "a caller that has given up must not cause a side effect"},
	{id: "X03", level: Core, run: contextStaysHere,
		title: "the producer's context neither cancels the job nor reaches its handler",
		why:   "a request ends long before the job that it has caused"},
	{id: "X04", level: Core, run: taxonomy,
		title: "every refusal is a *DispatchError with one outcome per intent and one sentinel",
		why:   "wrappers and callers use errors.Is to decide what to send again"},
	{id: "X05", level: Core, run: noSecrets,
		title: "errors contain no payload and no header value",
		why:   "errors are logged, and many people can read logs"},
	{id: "X06", level: Core, run: handlersOwnError,
		title: "an executor that runs jobs itself returns the handler's own error",
		why:   "code that uses a queue in production is tested with such an executor"},
	{id: "X07", level: Core, run: panics,
		title: "a panic or Goexit in a handler or middleware fails the attempt and nothing else",
		why:   "a bug in one handler must not stop the worker for all tasks"},
}

func doneContext(p *probe) {
	s := p.open(Setup{})
	exec := s.sys.Bare
	if exec == nil {
		exec = s.sys.Exec
	}
	cancelled, cancel := context.WithCancel(p.ctx)
	cancel()
	expired, cancel := context.WithDeadline(p.ctx, time.Now().Add(-time.Second))
	defer cancel()
	var sent []job
	for _, c := range []struct {
		ctx  context.Context
		want error
	}{{cancelled, context.Canceled}, {expired, context.DeadlineExceeded}} {
		for _, n := range []int{1, 3} {
			jobs := s.makeN(n)
			sent = append(sent, jobs...)
			outs, err := s.dispatchBy(exec, c.ctx, jobs...)
			if !errors.Is(err, c.want) {
				p.fail(fmt.Sprintf("errors.Is finds %v, %d intents", c.want, n), "%v", err)
			}
			for _, o := range outs {
				if o.State != core.NotSent && s.sys.Bare == nil {
					p.fail("nothing was sent, and the outcomes say so", "%v: %v", o.State, o.Err)
				}
			}
		}
	}
	s.quiet()
	if n, _ := s.ran(refsOf(sent)); n > 0 {
		p.fail("nothing of a call with a done context runs", "%d of %d ran", n, len(sent))
	}
}

type producerKey struct{}

func contextStaysHere(p *probe) {
	s := p.open(Setup{})
	var leaked, ended atomic.Int64
	cancelled := make(chan struct{})
	ctx, cancel := context.WithTimeout(context.WithValue(p.ctx, producerKey{}, "the producer's"), time.Hour)
	defer cancel()
	var limited atomic.Int64
	look := func(r *run) error {
		if !s.sys.Inline {
			select {
			case <-cancelled:
			case <-p.decided:
			case <-time.After(p.patience()):
			}
		}
		if r.ctx.Value(producerKey{}) != nil {
			leaked.Add(1)
		}
		if r.ctx.Err() != nil && !s.sys.Inline {
			ended.Add(1)
		}
		if _, ok := r.ctx.Deadline(); ok && !s.sys.Inline {
			limited.Add(1)
		}
		return nil
	}
	var jobs []job
	for range 4 {
		jobs = append(jobs, s.make(look))
	}
	for _, group := range [][]job{jobs[:1], jobs[1:]} {
		outs, _ := s.dispatch(ctx, group...)
		if slices.ContainsFunc(outs, func(o core.Outcome) bool { return o.State != core.Accepted }) {
			p.fail("every job is accepted", "%v: %v", outs[0].State, outs[0].Err)
		}
	}
	s.await(p.patience(), func() bool { n, _ := s.ran(refsOf(jobs)); return n > 0 })
	cancel()
	p.sleep(time.Millisecond)
	close(cancelled)
	s.awaitRuns(jobs)
	for _, j := range jobs {
		s.awaitEnd(j, 1, p.patience())
	}
	if n := leaked.Load(); n > 0 {
		p.fail("values of the producer's context do not reach handlers", "%d of %d saw one", n, len(jobs))
	}
	if n := limited.Load(); n > 0 {
		p.fail("the producer's deadline is not its jobs'", "%d of %d had one", n, len(jobs))
	}
	if n := ended.Load(); n > 0 {
		p.fail("cancelling the producer's context after dispatch does not touch its jobs", "%d of %d had their context ended", n, len(jobs))
	}
}

func taxonomy(p *probe) {
	s := p.open(Setup{})
	for _, b := range s.badJobs() {
		for _, jobs := range [][]job{{b.job}, {s.make(nil), b.job}} {
			_, err := s.dispatch(p.ctx, jobs...)
			err = fmt.Errorf("one: %w", fmt.Errorf("two: %w", fmt.Errorf("three: %w", err)))
			var de *core.DispatchError
			if !errors.As(err, &de) {
				p.fail(b.what+": a *DispatchError", "%v", err)
			}
			if len(de.Outcomes) != len(jobs) {
				p.fail(fmt.Sprintf("%s: %d outcomes", b.what, len(jobs)), "%d", len(de.Outcomes))
			}
			for i, o := range de.Outcomes {
				if o.ID != jobs[i].in.ID {
					p.fail(fmt.Sprintf("%s: outcome %d is that of intent %d", b.what, i, i), "of %s", o.ID)
				}
			}
			reason := de.Outcomes[len(jobs)-1].Err
			for name, sentinel := range sentinels {
				if want := sentinel == b.want; errors.Is(reason, sentinel) != want {
					p.fail(fmt.Sprintf("%s: %s is found: %v", b.what, name, want), "%v", reason)
				}
			}
			var oe *core.OptionError
			if b.want == core.ErrUnsupported && (!errors.As(reason, &oe) || oe.Executor != s.caps.Executor) {
				p.fail(fmt.Sprintf("%s: an *OptionError that names executor %q", b.what, s.caps.Executor), "%v", reason)
			}
		}
	}
	if !s.honours(core.OptionID) || s.caps.IDWindow.Kind == "" || s.sys.Inline && s.caps.IDWindow.Kind == core.WindowUnfinished {
		return
	}
	id := core.ID("twice-" + s.setup.Namespace)
	open := make(chan struct{})
	defer close(open)
	wait := p.hold(open)
	if s.sys.Inline {
		wait = nil
	}
	s.accept(single, s.make(wait, id))
	_, err := s.dispatch(p.ctx, s.make(nil, id))
	for name, sentinel := range sentinels {
		if want := sentinel == core.ErrDuplicate; errors.Is(err, sentinel) != want {
			p.fail(fmt.Sprintf("a chosen ID again: %s is found: %v", name, want), "%v", err)
		}
	}
}

// typedError is an error with a type of its own.
type typedError struct{ n int }

func (e *typedError) Error() string { return fmt.Sprint("typed error ", e != nil) }

func handlersOwnError(p *probe) {
	s := p.open(Setup{})
	if !s.sys.Inline {
		p.notApplicable("the executor does not run jobs itself")
	}
	var typedNil *typedError
	joined := errors.Join(errors.New("first"), errOnPurpose)
	for what, want := range map[string]error{
		"a plain error": errOnPurpose, "a typed error": &typedError{7}, "a typed nil pointer": typedNil,
		"joined errors": joined, "a permanent error": worker.Permanent(errOnPurpose),
	} {
		outs, err := s.dispatch(p.ctx, s.make(nil), s.make(func(*run) error { return want }), s.make(nil))
		var te *typedError
		switch {
		case outs[0].State != core.Accepted || outs[1].State != core.Failed:
			p.fail(what+": accepted, then failed", "%v, %v: %v", outs[0].State, outs[1].State, outs[1].Err)
		case !errors.Is(outs[1].Err, want):
			p.fail(what+": errors.Is finds the same value on the outcome", "%v", outs[1].Err)
		case errors.As(want, &te) && !errors.As(outs[1].Err, &te):
			p.fail(what+": errors.As finds its type", "%v", outs[1].Err)
		case outs[2].State == core.Accepted && !errors.Is(err, want):
			p.fail(what+": errors.Is finds it on the call's error, since it is the worst outcome", "%v", err)
		}
	}
}

func panics(p *probe) {
	where := new(atomic.Value) // the ref at which the middleware panics
	where.Store("")
	used := new(atomic.Int64)
	middleware := func(ctx context.Context, next func(context.Context) error) error {
		used.Add(1)
		if j, _ := worker.JobFrom(ctx); j.ID != "" && j.ID == where.Load() {
			panic("on purpose, in the middleware")
		}
		return next(ctx)
	}
	s := p.openWith(Setup{Slots: 2}, middleware)
	var opts []core.Option
	if s.honours(core.OptionMaxAttempts) {
		opts = append(opts, core.MaxAttempts(1))
	}
	ways := map[string]handler{
		"an error":  func(*run) error { panic(errOnPurpose) },
		"a string":  func(*run) error { panic("on purpose") },
		"nil":       func(*run) error { panic(nil) },
		"a Goexit":  func(*run) error { runtime.Goexit(); return nil },
		"a typed 0": func(*run) error { panic(struct{ n int }{}) },
	}
	for what, way := range ways {
		j := s.make(way, opts...)
		s.wantFailed("a panic with "+what, j)
		s.awaitEnd(j, 1, p.patience())
	}
	if used.Load() > 0 { // some executors run intents without the registry
		j := s.make(nil, opts...)
		where.Store(j.in.ID)
		p.mayBeLeft(j, "its middleware panics, so that its handler is not called")
		s.wantFailed("a panic in a middleware", j)
	}
	jobs := s.makeN(20)
	s.accept(single, jobs...)
	s.awaitRuns(jobs)
	// The panic counts as a failed attempt: the job runs again.
	if s.honours(core.OptionMaxAttempts) && s.honours(core.OptionBackoff) {
		for _, value := range []any{"on purpose", errOnPurpose} {
			again := s.make(func(r *run) error {
				if r.ordinal == 1 {
					panic(value)
				}
				return nil
			}, core.MaxAttempts(2), core.Backoff(s.soon()))
			s.push(single, again)
			s.awaitEnd(again, 2, s.soon().Max+p.patience())
		}
	}
}

// wantFailed sends a job whose handler panics. If the executor runs it before it
// returns, the outcome must be Failed.
func (s *subject) wantFailed(what string, j job) {
	o := s.send(single, j)[0]
	switch {
	case s.sys.Inline && o.State != core.Failed:
		s.p.fail(what+" is a failure", "%v: %v", o.State, o.Err)
	case !s.sys.Inline && o.State != core.Accepted:
		s.p.fail("every job is accepted", "%v: %v", o.State, o.Err)
	}
}
