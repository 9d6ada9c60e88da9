package conformance

import (
	"context"
	"fmt"
	"time"

	"github.com/goairlock/airlock/core"
)

var lifeChecks = []check{
	{id: "M03", level: Options, run: lifeAndIdentity, cases: systemCases, limit: time.Minute,
		title: "an ID and a unique key mean the same at every stage of a job's life: waiting, delayed, running, between attempts, snoozed, done, dead, refused, and after many others",
		why:   "a key that is forgotten between two attempts makes the second job that it was to prevent"},
}

func lifeAndIdentity(p *probe) {
	t := p.openTeam(Setup{Slots: 24, Queues: []string{"", "left"}})
	if t.caps.IDWindow.Kind == "" && !t.keys() {
		p.notApplicable("neither IDs nor keys are kept")
	}
	var all []*staged
	for _, st := range stages {
		for _, id := range t.identities(st) {
			if j := t.stagedJob(st, id); j != nil {
				all = append(all, j)
			}
		}
	}
	for _, j := range all {
		t.begin(j)
	}
	for _, j := range all {
		t.awaitStage(j)
	}
	p.sleep(p.settle() / 4) // for what a worker does after the handler has returned
	t.exchange()
	for _, j := range all {
		t.sender().judgeIdentity(t, j)
	}
	t.sender().afterMany(t, all)
	for _, j := range all {
		if j.open != nil {
			close(j.open)
		}
	}
	t.sender().judgeRelease(t, all)
	if p.caseOf == oneSystem {
		t.refusedIdentities()
		t.stageOfWaiting()
	}
}

// begin sends a job. One that runs within the call, and is held, is sent from
// another goroutine.
func (t *team) begin(j *staged) {
	if !t.sys.Inline || j.open == nil {
		t.push(single, j.job)
		return
	}
	go t.p.contain(func() { t.push(single, j.job) })
}

func (t *team) awaitStage(j *staged) {
	n := j.stage.runs()
	within := t.patience() + time.Duration(n)*t.p.retryWithin()
	if !j.stage.held() {
		t.awaitEnd(j.job, n, within)
	} else if !t.await(within, func() bool { return t.count(j.job.ref) >= n }) {
		t.p.fail(fmt.Sprintf("a job with %s is %s", j.name, j.stage), "not within %v", within)
	}
}

// second makes a job with an identity, in the queue of the first one unless another
// one is given.
func (s *subject) second(first *staged, id identity, opts ...core.Option) job {
	if first.queue != "" {
		opts = append([]core.Option{core.Queue(first.queue)}, opts...)
	}
	return s.make(nil, append(id.options(), opts...)...)
}

// remembered returns the state of a job that has the ID of an earlier one, and
// whether it is certain.
func (s *subject) remembered(st stage) (core.State, bool) {
	switch {
	case st.unfinished():
		return core.Duplicate, true
	case st.dead() && s.sys.Inline:
		return core.Accepted, true // the caller knows that it has failed, and sends it again
	case s.caps.IDWindow.Kind == core.WindowUnfinished:
		return core.Accepted, false // a worker may need a moment, see I06
	case st == stageDone:
		return core.Duplicate, true
	}
	return core.Duplicate, false // a failed job may be sent again
}

// judgeIdentity sends further jobs with the identity of one at a stage.
func (s *subject) judgeIdentity(t *team, j *staged) {
	if j.id == "" && j.key == "" {
		s.judgeGenerated(t, j)
		return
	}
	stored, certain := s.remembered(j.stage)
	want := func(what string, state core.State, sent job) {
		s.wantState(fmt.Sprintf("a job is %s and has %s; another one with %s", j.stage, j.name, what), state, sent)
	}
	if j.id != "" && certain && stored == core.Accepted {
		want("the same ID", stored, s.second(j, identity{id: j.id}))
	} else if j.id != "" && certain {
		want("the same ID", stored, s.second(j, identity{id: j.id}))
		if j.key != "" {
			other := j.key + "-other"
			want("the same ID and the same key", stored, s.second(j, j.identity))
			want("the same ID and another key", stored, s.second(j, identity{id: j.id, key: other}))
			want("the key of a duplicate", core.Accepted, s.second(&staged{}, identity{key: other}))
		}
		if s.honours(core.OptionQueue) && j.queue == "" {
			state := stored
			if s.caps.IDWindow.PerQueue {
				state = core.Accepted
			}
			want("the same ID in another queue", state, s.make(nil, core.ID(j.id), core.Queue("left")))
		}
	}
	if j.key == "" || !j.stage.unfinished() {
		return // see judgeRelease
	}
	want("the same key", core.Duplicate, s.second(j, identity{key: j.key}))
	if j.id != "" {
		other := j.id + "-other"
		want("another ID and the same key", core.Duplicate, s.second(j, identity{id: other, key: j.key}))
		want("the ID of a duplicate", core.Accepted, s.second(&staged{}, identity{id: other}))
	}
	if s.honours(core.OptionQueue) && j.queue == "" {
		want("the same key in another queue", core.Accepted, s.make(nil, core.Unique(j.key), core.Queue("left")))
	}
	var opts []core.Option
	if j.queue == "" {
		want("the same key of another task", core.Accepted, s.makeRaw([]byte(`"`+s.newRef()+`"`), append(opts, core.Unique(j.key))...))
	}
	s.storedOnce(t, j)
}

// judgeGenerated sends the same intent again.
func (s *subject) judgeGenerated(t *team, j *staged) {
	if _, certain := s.remembered(j.stage); !certain {
		return
	}
	s.wantState(fmt.Sprintf("a job is %s; the same intent again", j.stage), core.Accepted, j.job)
	if runs := s.count(j.job.ref); s.sys.Inline && j.stage.dead() && runs <= j.stage.runs() {
		s.p.fail("a job that has failed runs when the same intent is sent again", "%d runs", runs)
	}
	s.storedOnce(t, j)
}

// storedOnce wants one record of an unfinished job.
func (s *subject) storedOnce(t *team, j *staged) {
	if s.sys.Stored == nil || !j.stage.unfinished() || j.queue == unattended { // a queue that the harness may not look into
		return
	}
	most := 1
	if s.caps.IDWindow.PerQueue {
		most = 2 // judgeIdentity has sent it to another queue
	}
	s.awaitFunc(fmt.Sprintf("one record of a job that is %s, whose identity was sent again", j.stage), func() string {
		n := 0
		for _, r := range s.records() {
			if r.ID == j.job.in.ID && r.State != Finished && r.State != Buried {
				n++
			}
		}
		if n >= 1 && n <= most {
			return ""
		}
		return fmt.Sprint(n)
	})
}

// afterMany sends many other jobs with IDs and keys, and looks again at those that
// have not finished.
func (s *subject) afterMany(t *team, all []*staged) {
	n := 200
	if s.p.bubble && s.p.caseOf == oneSystem {
		n = 2400 // some stores keep only the last thousand
	}
	if most := s.caps.IDWindow.Count; most > 0 {
		n = min(n, most/2)
	}
	for range n / 50 {
		jobs := make([]job, 50)
		for i := range jobs {
			var opts []core.Option
			if s.honours(core.OptionID) && i%2 == 0 {
				opts = append(opts, core.ID(s.newRef()+s.setup.Namespace))
			} else if s.keys() {
				opts = append(opts, core.Unique(s.newRef()))
			}
			jobs[i] = s.make(nil, opts...)
		}
		s.accept(batch, jobs...)
		s.awaitRuns(jobs)
	}
	for _, j := range all {
		state, certain := s.remembered(j.stage)
		if certain && state == core.Duplicate && j.id != "" {
			s.wantState(fmt.Sprintf("%d jobs later the ID of one that is %s", n, j.stage), state, s.second(j, identity{id: j.id}))
		}
		if j.key != "" && j.stage.unfinished() {
			s.wantState(fmt.Sprintf("%d jobs later the key of one that is %s", n, j.stage), core.Duplicate, s.second(j, identity{key: j.key}))
		}
	}
}

// judgeRelease wants keys to be free when their jobs have finished, also if the ID is
// remembered. In a bubble it waits for those that are due later.
func (s *subject) judgeRelease(t *team, all []*staged) {
	if s.p.bubble {
		s.p.sleep(s.far() + s.p.settle())
	}
	for _, j := range all {
		later := j.stage == stageDelayed || j.stage == stageBetween || j.stage == stageSnoozed
		if j.stage == stageWaiting || later && !s.p.bubble {
			continue
		}
		runs := j.stage.runs()
		if later {
			runs++
		}
		if t.sys.Inline && j.stage.dead() && j.id == "" && j.key == "" {
			runs++ // see judgeGenerated
		}
		t.awaitEnd(j.job, runs, s.patience())
		if got := t.count(j.job.ref); got != runs {
			s.p.fail(fmt.Sprintf("%d runs of a job with %s that was %s when its identity was sent again", runs, j.name, j.stage), "%d", got)
		}
		if j.key != "" {
			s.becomesFree(fmt.Sprintf("after the end of a job with %s that was %s", j.name, j.stage), j.key)
		}
	}
}

// refusedIdentities sends identities in a call that is refused, after which they are
// free.
func (t *team) refusedIdentities() {
	done, cancel := context.WithCancel(t.p.ctx)
	cancel()
	for i, id := range t.identities("refused") {
		first := t.make(nil, id.options()...)
		outs, _ := t.dispatch(t.p.ctx, first, t.make(nil, core.NativeOption("conformance-stranger", i)))
		if outs[0].State != core.NotSent {
			t.p.fail("the others of a refused call are not sent", "%v: %v", outs[0].State, outs[0].Err)
		}
		outs, _ = t.dispatch(done, first)
		if outs[0].State != core.NotSent {
			t.p.fail("nothing is sent if the context is done", "%v: %v", outs[0].State, outs[0].Err)
		}
		t.wantState("a job with "+id.name+" that was in a refused call, and in one whose context was done", core.Accepted, first)
		t.awaitRuns([]job{first})
	}
}

// stageOfWaiting looks at jobs that wait because the worker has not started.
func (t *team) stageOfWaiting() {
	if t.sys.Inline || t.sys.Start == nil {
		return
	}
	w := &team{subject: t.p.open(Setup{Slots: 8, Paused: true})}
	w.share()
	var all []*staged
	for _, id := range w.identities(stageWaiting) {
		j := &staged{stage: stageWaiting, identity: id, job: w.make(nil, id.options()...)}
		w.accept(single, j.job)
		all = append(all, j)
	}
	for _, j := range all {
		w.judgeIdentity(w, j)
	}
	w.start()
	for _, j := range all {
		w.awaitEnd(j.job, 1, w.patience())
		if j.key != "" {
			w.becomesFree("after the end of a job that waited for the worker", j.key)
		}
	}
}
