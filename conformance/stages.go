package conformance

import (
	"fmt"
	"strings"
	"time"

	"github.com/goairlock/airlock/core"
)

// stage is a part of a job's life.
type stage string

const (
	stageWaiting stage = "waiting"
	stageDelayed stage = "delayed"
	stageRunning stage = "running"
	stageBetween stage = "between attempts"
	stageSnoozed stage = "snoozed"
	stageAgain   stage = "running again"
	stageDone    stage = "done"
	stageDead    stage = "dead"
	stageSpent   stage = "dead after its last attempt"
)

var stages = []stage{stageWaiting, stageDelayed, stageRunning, stageAgain, stageBetween, stageSnoozed, stageDone, stageDead, stageSpent}

func (st stage) dead() bool       { return st == stageDead || st == stageSpent }
func (st stage) unfinished() bool { return st != stageDone && !st.dead() }

// held reports whether a job at this stage runs until the check lets it end.
func (st stage) held() bool { return st == stageRunning || st == stageAgain }

// runs is how often a job at this stage has run.
func (st stage) runs() int {
	switch st {
	case stageWaiting, stageDelayed:
		return 0
	case stageAgain, stageSpent:
		return 2
	}
	return 1
}

// identity says which identity a job has.
type identity struct {
	name    string
	id, key string // "" for a generated ID, and for no key
}

func (i identity) options() (opts []core.Option) {
	if i.id != "" {
		opts = append(opts, core.ID(i.id))
	}
	if i.key != "" {
		opts = append(opts, core.Unique(i.key))
	}
	return opts
}

// unattended is a queue that no worker of these checks serves.
const unattended = "nobody"

// far is a time that no check outside a bubble waits for.
func (s *subject) far(names ...core.OptionName) time.Duration {
	d := time.Hour
	for _, n := range names {
		if most := s.caps.Options[n].Longest; most > 0 {
			d = min(d, most)
		}
	}
	return d
}

// staged is a job at a stage of its life.
type staged struct {
	stage stage
	job   job
	queue string
	identity
	open chan struct{} // of a running job
}

// keys reports whether unique keys are kept. Where no job ever waits, a running job
// still keeps its key.
func (s *subject) keys() bool {
	return s.honours(core.OptionUnique) || s.sys.Inline && s.caps.Options[core.OptionUnique].Support == core.SupportNotApplicable
}

// identities returns the kinds of identity that the executor knows, for one stage.
func (t *team) identities(st stage) []identity {
	name := fmt.Sprintf("%s-%s", t.setup.Namespace, strings.ReplaceAll(string(st), " ", "-"))
	ids := t.caps.IDWindow.Kind != "" && (t.p.caseOf == oneSystem || t.caps.IDWindow.Survives != core.SurvivalNone)
	if t.sys.Inline && t.caps.IDWindow.Kind == core.WindowUnfinished && !st.unfinished() {
		ids = false
	}
	var list []identity
	if ids {
		list = append(list, identity{name: "a generated ID"})
		if t.honours(core.OptionID) {
			list = append(list, identity{name: "an ID", id: name})
		}
	}
	if t.keys() {
		list = append(list, identity{name: "a key", key: name})
		if ids && t.honours(core.OptionID) && !t.excludes(core.ID("x"), core.Unique("x")) {
			list = append(list, identity{name: "an ID and a key", id: name + "-both", key: name + "-both"})
		}
	}
	return list
}

// excludes reports whether the options are declared to exclude each other.
func (s *subject) excludes(opts ...core.Option) bool {
	in, err := s.ledger.job.Intent(jobArgs{}, opts...)
	return err != nil || s.caps.Check(in) != nil
}

// retries reports whether the attempts of a job, and the time between them, can be
// set.
func (s *subject) retries() bool {
	return s.honours(core.OptionMaxAttempts) && s.honours(core.OptionBackoff)
}

// stagedJob makes a job that comes to a stage, or returns nil if it cannot here.
func (t *team) stagedJob(st stage, id identity) *staged {
	j := &staged{stage: st, identity: id}
	opts := id.options()
	var plan handler
	begins := func(a answer) handler { return script{a}.handler }
	failure := t.p.failure()
	switch st {
	case stageWaiting:
		if !t.honours(core.OptionQueue) || t.caps.Durability != core.DurabilityBroker {
			return nil // see stageOfWaiting
		}
		j.queue = unattended
		opts = append(opts, core.Queue(unattended))
	case stageDelayed:
		if !t.honours(core.OptionDelay) {
			return nil
		}
		opts = append(opts, core.Delay(t.far(core.OptionDelay)))
	case stageRunning, stageAgain:
		if t.p.caseOf == nextWorker || t.sys.Slots > 0 && t.sys.Slots < 2*len(stages) {
			return nil // the worker ends when its jobs have ended, or has no other slots
		}
		j.open = make(chan struct{})
		plan = t.p.hold(j.open)
		if hold := plan; st == stageAgain {
			if !t.retries() {
				return nil
			}
			opts = append(opts, core.MaxAttempts(3), core.Backoff(t.soon()))
			plan = func(r *run) error {
				if r.ordinal == 1 {
					return failure.give(r.ctx)
				}
				return hold(r)
			}
		}
	case stageBetween:
		if t.sys.Inline || !t.retries() {
			return nil
		}
		opts = append(opts, core.MaxAttempts(3), core.Backoff(core.Fixed(t.far(core.OptionBackoff))))
		plan = begins(failure)
	case stageSnoozed:
		if t.sys.Inline {
			return nil
		}
		plan = begins(snoozes(t.far(core.OptionDelay)))
	case stageDead:
		plan = begins(permanent)
	case stageSpent:
		if !t.retries() {
			return nil
		}
		opts = append(opts, core.MaxAttempts(2), core.Backoff(t.soon()))
		plan = script{failure, failure}.handler
	}
	if t.excludes(opts...) {
		return nil
	}
	j.job = t.make(plan, opts...)
	return j
}
