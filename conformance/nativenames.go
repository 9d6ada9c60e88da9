package conformance

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

var nativeNameChecks = []check{
	{id: "N03", level: Options, run: nativeNames,
		title: "a queue with another native name is sent to and worked under that name, and no other queue is",
		why:   "a queue of an existing system keeps its name; if only one side uses it, the jobs are never worked"},
}

// nativeNames opens one system with native names, and others in its namespace whose
// portable names are these native names. Two of the names are swapped.
func nativeNames(p *probe) {
	names := map[string]string{"default": "tasks", "mail": "mail-eu", "left": "right", "right": "left"}
	seen := &queuesSeen{byID: map[string]string{}}
	mapped := p.openWith(Setup{NativeNames: names, Queues: []string{"", "mail", "left"}, Paused: true}, seen.note)
	mapped.need(core.OptionQueue)
	switch {
	case mapped.sys.Inline || mapped.caps.Durability == core.DurabilityProcess:
		p.notApplicable("queues have no names outside this process")
	case !mapped.sys.NativeNames:
		p.notRun("the harness does not use Setup.NativeNames")
	}
	taken := mapped.sendToNativeNames(names)

	// What it sends is worked under the native names.
	sent := map[string][]job{}
	for _, queue := range []string{"", "mail", "left", "right"} {
		for _, m := range modes {
			jobs := mapped.makeIn(queue, 2)
			mapped.accept(m, jobs...)
			sent[queue] = append(sent[queue], jobs...)
		}
	}
	var mixed []job
	for _, queue := range []string{"mail", "", "right", "left"} {
		j := mapped.makeIn(queue, 1)[0]
		mixed, sent[queue] = append(mixed, j), append(sent[queue], j)
	}
	mapped.accept(batch, mixed...)
	others := Setup{Namespace: mapped.setup.Namespace, Queues: []string{"tasks", "mail-eu", "right"}}
	plain := p.openWith(others, seen.note)
	for queue, native := range map[string]string{"": "tasks", "mail": "mail-eu", "left": "right"} {
		for _, j := range sent[queue] {
			if !plain.await(p.patience(), func() bool { return slices.Contains(plain.inherited(), j.ref) }) {
				p.fail(fmt.Sprintf("a job of queue %q is in the native queue %s", queue, native), "no worker of %s has run it", native)
			}
		}
	}
	plain.hush()
	for _, j := range sent["right"] {
		if slices.Contains(plain.inherited(), j.ref) {
			p.fail("a job of queue right is in the native queue left, and not in that of queue left", "a worker of right has run it")
		}
	}
	for _, j := range taken {
		if slices.Contains(plain.inherited(), j.ref) {
			p.fail("a job for a queue with the native name of another queue is refused, or is not in the queue of the other one", "a worker of %s has run it", j.in.Options.Queue)
		}
	}
	if plain.sys.Stop == nil {
		p.lacks("System.Stop")
	}
	plain.stop()

	// What others send to the native names is worked here, under the portable ones.
	others.Paused = true
	sender := p.open(others)
	want := map[string]string{}
	for portable, native := range map[string]string{"": "tasks", "mail": "mail-eu", "left": "right"} {
		jobs := sender.makeIn(native, 2)
		sender.accept(batch, jobs...)
		for _, j := range jobs {
			want[j.in.ID] = portable
		}
	}
	opts, within := []core.Option{core.Queue("mail")}, p.retryWithin()
	if mapped.honours(core.OptionBackoff) {
		opts = append(opts, core.Backoff(mapped.soon()))
	}
	again := mapped.make(func(r *run) error {
		if r.ordinal == 1 {
			return errOnPurpose
		}
		return nil
	}, opts...)
	mapped.accept(single, again)
	mapped.start()
	if mapped.caps.DefaultAttempts > 1 {
		mapped.awaitEnd(again, 2, 2*within)
	}
	if !mapped.awaitAll(p.patience(), len(want), func() int { return len(seen.of(want)) }) {
		p.fail("jobs of the native queues are run by a worker with these native names", "%d of %d", len(seen.of(want)), len(want))
	}
	for id, got := range seen.of(want) {
		if got != want[id] && !(want[id] == "" && got == "default") {
			p.fail(fmt.Sprintf("the handler finds the portable name %q in Job.Queue", want[id]), "%q", got)
		}
	}
}

// makeIn makes n jobs of a queue. "" is the default queue.
func (s *subject) makeIn(queue string, n int) []job {
	if queue == "" {
		return s.makeN(n)
	}
	return s.makeN(n, core.Queue(queue))
}

// sendToNativeNames sends to queues whose names are the native names of others. It
// returns the jobs that are accepted.
func (s *subject) sendToNativeNames(names map[string]string) (taken []job) {
	for _, native := range slices.Sorted(maps.Values(names)) {
		if _, renamed := names[native]; renamed {
			continue
		}
		for _, m := range modes {
			j := s.make(nil, core.Queue(native))
			jobs := []job{j}
			if m == batch {
				jobs = []job{s.make(nil), j}
			}
			want := core.Rejected
			if s.caps.Check(j.in) == nil {
				s.p.mayBeLeft(j, "its queue has no worker, unless it is that of another name")
				want, taken = core.Accepted, append(taken, j)
			}
			if o := s.send(batch, jobs...)[len(jobs)-1]; o.State != want {
				s.p.fail(fmt.Sprintf("a job for queue %q, which is the native name of another queue, is %v, %s", native, want, m), "%v: %v", o.State, o.Err)
			}
		}
	}
	return taken
}

// queuesSeen has the queues of the jobs that ran, by ID.
type queuesSeen struct {
	mu   sync.Mutex
	byID map[string]string
}

func (q *queuesSeen) note(ctx context.Context, next func(context.Context) error) error {
	if j, ok := worker.JobFrom(ctx); ok {
		q.mu.Lock()
		q.byID[j.ID] = j.Queue
		q.mu.Unlock()
	}
	return next(ctx)
}

// of returns the queues of those of the wanted jobs that have run.
func (q *queuesSeen) of(want map[string]string) map[string]string {
	q.mu.Lock()
	defer q.mu.Unlock()
	got := maps.Clone(q.byID)
	maps.DeleteFunc(got, func(id, _ string) bool { _, ok := want[id]; return !ok })
	return got
}
