package conformance

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// jobArgs are the arguments of the suite's jobs. Ref is the suite's own name for the
// job, which a check knows even if the executor loses the ID.
//
// Secret must not be in any error or log, and comes first, since a text is mostly cut
// at its end.
type jobArgs struct {
	Secret string          `json:"s"`
	Ref    string          `json:"ref"`
	Body   json.RawMessage `json:"body,omitempty"`
}

// The names of the suite's tasks. Each ledger makes its own tasks with core.NewTask,
// for executors that run intents without a registry.
const (
	jobTaskName = "conformance.job"
	rawTaskName = "conformance.raw" // its arguments are bytes
)

// run is one call of a handler.
type run struct {
	Ref     string
	Job     worker.Job
	Body    []byte // jobArgs.Body, or the raw payload
	Began   time.Time
	Ended   time.Time // zero while it runs
	Err     error
	ctx     context.Context
	ledger  *ledger
	ordinal int // which run of this ref this is, from 1
	by      int // the system that ran it
}

// handler is what a job of a check does.
type handler func(r *run) error

// ledger has every job that a check has sent through one system, and every run that
// the system's handlers have seen. It keeps all runs of a job.
type ledger struct {
	p         *probe
	system    int
	namespace string
	setup     Setup
	claims    atomic.Pointer[core.Capabilities] // of the system, once it is open
	inline    atomic.Bool                       // the system runs jobs itself
	job       core.Task[jobArgs]
	rawJob    core.Task[[]byte]

	mu      sync.Mutex
	changed chan struct{}        // closed and replaced at every change
	byID    map[string]string    // ref by intent ID
	raw     map[string][]byte    // payload by ref, of raw jobs
	due     map[string]time.Time // when the job may start, at the earliest, by ref
	plans   map[string]handler
	runs    []*run
	byRef   map[string][]*run
	phantom []string      // runs of jobs that nobody has sent, or a system of another namespace
	others  []string      // refs of jobs that another system of the namespace has sent, one for each run
	slowest time.Duration // from when a job is due to its first run
	shared  bool          // the jobs may run in other systems of the namespace
}

func newLedger(p *probe, system int, setup Setup) *ledger {
	l := &ledger{
		p: p, system: system, namespace: setup.Namespace, setup: setup, changed: make(chan struct{}), byID: map[string]string{}, raw: map[string][]byte{},
		due: map[string]time.Time{}, plans: map[string]handler{}, byRef: map[string][]*run{},
	}
	l.job = core.NewTask(jobTaskName, l.handleJob)
	l.rawJob = core.NewTask(rawTaskName, l.handleRaw).Codec(core.Raw)
	return l
}

func (l *ledger) change() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// expect adds an intent to the ledger before it is sent.
func (l *ledger) expect(ref string, in core.Intent, plan handler) {
	l.p.sent.note(ref, in)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.byID[in.ID] = ref
	l.due[ref] = time.Now()
	if at := in.Options.At; at.After(l.due[ref]) {
		l.due[ref] = at
	}
	if plan != nil {
		l.plans[ref] = plan
	}
	if in.Task == rawTaskName {
		l.raw[ref] = bytes.Clone(in.Payload())
	}
}

func (l *ledger) handleJob(ctx context.Context, a jobArgs) error {
	job, _ := worker.JobFrom(ctx)
	l.mu.Lock()
	_, known := l.due[a.Ref]
	l.mu.Unlock()
	return l.call(ctx, a.Ref, known, job, a.Body, a.Secret)
}

// handleRaw finds the job by its ID, otherwise by its payload.
func (l *ledger) handleRaw(ctx context.Context, payload []byte) error {
	job, _ := worker.JobFrom(ctx)
	l.mu.Lock()
	ref, known := l.byID[job.ID]
	if !known {
		for r, want := range l.raw {
			if bytes.Equal(want, payload) && len(l.byRef[r]) == 0 {
				ref, known = r, true
				break
			}
		}
	}
	l.mu.Unlock()
	return l.call(ctx, ref, known, job, payload, "")
}

func (l *ledger) call(ctx context.Context, ref string, known bool, job worker.Job, body []byte, secret string) error {
	if !known {
		if owner := l.p.sharing(l.namespace, ref); owner != nil {
			return owner.run(ctx, l.system, ref, job, body, secret)
		}
		l.stranger(ref, job)
		return nil
	}
	return l.run(ctx, l.system, ref, job, body, secret)
}

// run runs a job of this ledger in a system, mostly its own.
func (l *ledger) run(ctx context.Context, by int, ref string, job worker.Job, body []byte, secret string) error {
	r := &run{Ref: ref, Job: job, Body: bytes.Clone(body), Began: time.Now(), ctx: ctx, ledger: l, by: by}
	l.p.hist.add(Event{Kind: EventStart, System: l.system, Ref: ref, ID: job.ID, Attempt: job.Attempt})
	l.mu.Lock()
	l.runs = append(l.runs, r)
	l.byRef[ref] = append(l.byRef[ref], r)
	r.ordinal = len(l.byRef[ref])
	if r.ordinal == 1 {
		l.slowest = max(l.slowest, r.Began.Sub(l.due[ref]))
	}
	plan := l.plans[ref]
	l.change()
	l.mu.Unlock()
	if r.ordinal > endless {
		l.p.slowDown()
	}
	l.p.sent.compare(r, secret)

	returned := false
	defer func() { // a handler of a check may panic or end its goroutine on purpose
		if !returned {
			l.ended(r, errUnwound)
		}
	}()
	var err error
	if plan != nil {
		err = plan(r)
	}
	returned = true
	l.ended(r, err)
	return err
}

// endless is a number of runs that no job of a check has, unless it runs without end.
const endless = 20_000

// slowDown makes one more run of a job that runs without end take 10 000 hours of a
// bubble's clock. The clock may otherwise stand still for such a job, which would use up
// all memory before the check reaches its limit. Once the check is decided the run does
// not return any more.
func (p *probe) slowDown() {
	if !p.bubble {
		return
	}
	select {
	case <-p.decided:
		select {}
	case <-time.After(10_000 * time.Hour):
	}
}

// stranger notes a run of a job that was not sent through this system. It succeeds.
func (l *ledger) stranger(ref string, job worker.Job) {
	owned, ref := l.p.sentInto(l.namespace, ref, job.ID)
	l.mu.Lock()
	if owned {
		l.others = append(l.others, ref)
	} else {
		l.phantom = append(l.phantom, fmt.Sprintf("task %s, ref %q, ID %q", job.Task, ref, job.ID))
	}
	l.change()
	l.mu.Unlock()
	e := Event{Kind: EventPhantom, System: l.system, Ref: ref, ID: job.ID, Attempt: job.Attempt}
	if owned {
		e.Kind = EventStart
	}
	l.p.hist.add(e)
	if owned {
		e.Kind, e.Attempt = EventEnd, job.Attempt
		l.p.hist.add(e)
	}
}

// share lets the jobs of this system run in other systems of its namespace as they do
// here. Their runs are in this ledger. Otherwise such a run only succeeds.
func (l *ledger) share() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shared = true
}

// sharing returns the ledger that has a job of another system of the namespace, if
// that system shares its jobs.
func (p *probe) sharing(namespace, ref string) *ledger {
	for _, s := range p.all() {
		if s.setup.Namespace != namespace {
			continue
		}
		s.mu.Lock()
		_, known := s.due[ref]
		known = known && s.shared
		s.mu.Unlock()
		if known {
			return s.ledger
		}
	}
	return nil
}

// sentInto reports whether a system of the namespace has sent a job of the ref or of
// the ID, and returns its ref.
func (p *probe) sentInto(namespace, ref, id string) (bool, string) {
	for _, s := range p.all() {
		if s.setup.Namespace != namespace {
			continue
		}
		s.mu.Lock()
		_, known := s.due[ref]
		other, byID := s.byID[id]
		s.mu.Unlock()
		if known {
			return true, ref
		}
		if byID && ref == "" {
			return true, other
		}
	}
	return false, ref
}

// inherited returns the refs of the jobs of other systems of the namespace that ran
// here, one for each run.
func (l *ledger) inherited() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.others[:len(l.others):len(l.others)]
}

// inherits returns how many jobs of other systems of the namespace have run here.
func (l *ledger) inherits() int {
	refs := slices.Clone(l.inherited())
	slices.Sort(refs)
	return len(slices.Compact(refs))
}

var errUnwound = errors.New("the handler did not return")

func (l *ledger) ended(r *run, err error) {
	text := ""
	if err != nil {
		text = cmp.Or(err.Error(), "an error without text")
	}
	l.p.hist.add(Event{Kind: EventEnd, System: l.system, Ref: r.Ref, ID: r.Job.ID, Attempt: r.Job.Attempt, Text: text})
	l.mu.Lock()
	defer l.mu.Unlock()
	r.Ended, r.Err = time.Now(), err
	l.change()
}

// runsOf returns copies of the runs of a job, in the order in which they began.
func (l *ledger) runsOf(ref string) []run {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []run
	for _, r := range l.byRef[ref] {
		out = append(out, *r)
	}
	return out
}

// starts counts the runs of all jobs.
func (l *ledger) starts() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.runs)
}

func (l *ledger) count(ref string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.byRef[ref])
}

// ran returns how many of the refs have run at least once, and one that has not.
func (l *ledger) ran(refs []string) (n int, missing string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, ref := range refs {
		if len(l.byRef[ref]) > 0 {
			n++
		} else if missing == "" {
			missing = ref
		}
	}
	return n, missing
}

// order returns the refs in the order of their first runs.
func (l *ledger) order() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var refs []string
	seen := map[string]bool{}
	for _, r := range l.runs {
		if !seen[r.Ref] {
			seen[r.Ref] = true
			refs = append(refs, r.Ref)
		}
	}
	return refs
}

func (l *ledger) phantoms() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.phantom[:len(l.phantom):len(l.phantom)]
}

// awaitAll waits until have returns n. It gives up once that has not grown within the
// time that one job may take: how many jobs there are, and how busy the machine is, does
// not matter.
func (l *ledger) awaitAll(within time.Duration, n int, have func() int) bool {
	for before := -1; ; {
		now := have()
		if now >= n || now <= before {
			return now >= n
		}
		before = now
		l.await(within, func() bool { return have() > before })
	}
}

// countRuns returns a function that counts the jobs that have run.
func (l *ledger) countRuns(jobs []job) func() int {
	refs := refsOf(jobs)
	return func() int { n, _ := l.ran(refs); return n }
}

// await waits until cond holds, and reports whether it did in time. It calls cond
// when the ledger changes.
func (l *ledger) await(within time.Duration, cond func() bool) bool {
	timer := time.NewTimer(within)
	defer timer.Stop()
	for {
		l.mu.Lock()
		changed := l.changed
		l.mu.Unlock()
		if cond() {
			return true
		}
		select {
		case <-changed:
		case <-timer.C:
			return cond()
		case <-l.p.decided:
			l.p.endIfDecided()
		case <-l.p.ctx.Done():
			l.p.end(Error, "the caller's context ended")
		}
	}
}
