package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/goairlock/airlock/core"
)

// jobArgs are the arguments of the suite's jobs. Ref is the suite's own name
// for the job, so that a check still knows it when the executor loses its ID.
type jobArgs struct {
	Ref  string          `json:"ref"`
	Body json.RawMessage `json:"body,omitempty"`
}

// The names of the suite's tasks. Each ledger has tasks of its own, made with
// core.NewTask, so that executors that run intents without a registry fit too.
const (
	jobTaskName = "conformance.job"
	rawTaskName = "conformance.raw" // carries bytes as they are
)

// run is one call of a handler.
type run struct {
	Ref     string
	Job     core.Job
	Body    []byte // jobArgs.Body, or the raw payload
	Began   time.Time
	Ended   time.Time // zero while it runs
	Err     error
	ctx     context.Context
	ledger  *ledger
	ordinal int // which run of this ref this is, from 1
}

// handler is what a check wants a job to do.
type handler func(r *run) error

// ledger knows every job that a check has sent through one system, and every
// run that the system's handlers saw. It never retries and never forgets a
// duplicate.
type ledger struct {
	p      *probe
	system int
	job    core.Task[jobArgs]
	rawJob core.Task[[]byte]

	mu      sync.Mutex
	changed chan struct{}        // closed and replaced at every change
	byID    map[string]string    // ref by intent ID
	raw     map[string][]byte    // payload by ref, of raw jobs
	begun   map[string]time.Time // when the intent was made, by ref
	plans   map[string]handler
	runs    []*run
	byRef   map[string][]*run
	phantom []string
	slowest time.Duration // from dispatch to first run
}

func newLedger(p *probe, system int) *ledger {
	l := &ledger{
		p: p, system: system, changed: make(chan struct{}), byID: map[string]string{}, raw: map[string][]byte{},
		begun: map[string]time.Time{}, plans: map[string]handler{}, byRef: map[string][]*run{},
	}
	l.job = core.NewTask(jobTaskName, l.handleJob)
	l.rawJob = core.NewTask(rawTaskName, l.handleRaw).Codec(core.Raw)
	return l
}

func (l *ledger) change() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// expect makes the ledger know an intent before it is sent.
func (l *ledger) expect(ref string, in core.Intent, plan handler) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.byID[in.ID] = ref
	l.begun[ref] = time.Now()
	if plan != nil {
		l.plans[ref] = plan
	}
	if in.Task == rawTaskName {
		l.raw[ref] = bytes.Clone(in.Payload())
	}
}

func (l *ledger) handleJob(ctx context.Context, a jobArgs) error {
	job, _ := core.JobFrom(ctx)
	l.mu.Lock()
	_, known := l.begun[a.Ref]
	l.mu.Unlock()
	return l.call(ctx, a.Ref, known, job, a.Body)
}

// handleRaw finds the job by its ID or else by its payload.
func (l *ledger) handleRaw(ctx context.Context, payload []byte) error {
	job, _ := core.JobFrom(ctx)
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
	return l.call(ctx, ref, known, job, payload)
}

func (l *ledger) call(ctx context.Context, ref string, known bool, job core.Job, body []byte) error {
	if !known {
		l.mu.Lock()
		l.phantom = append(l.phantom, fmt.Sprintf("task %s, ref %q, ID %q", job.Task, ref, job.ID))
		l.change()
		l.mu.Unlock()
		l.p.hist.add(Event{Kind: EventPhantom, System: l.system, Ref: ref, ID: job.ID, Attempt: job.Attempt})
		return nil
	}
	r := &run{Ref: ref, Job: job, Body: bytes.Clone(body), Began: time.Now(), ctx: ctx, ledger: l}
	l.p.hist.add(Event{Kind: EventStart, System: l.system, Ref: ref, ID: job.ID, Attempt: job.Attempt})
	l.mu.Lock()
	l.runs = append(l.runs, r)
	l.byRef[ref] = append(l.byRef[ref], r)
	r.ordinal = len(l.byRef[ref])
	if r.ordinal == 1 {
		l.slowest = max(l.slowest, r.Began.Sub(l.begun[ref]))
	}
	plan := l.plans[ref]
	l.change()
	l.mu.Unlock()

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

var errUnwound = errors.New("the handler did not return")

func (l *ledger) ended(r *run, err error) {
	text := ""
	if err != nil {
		text = err.Error()
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

// await waits until cond holds, and says whether it did within the time.
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
