package conformance

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/inspect"
	"github.com/goairlock/airlock/worker"
)

const (
	inspectedQueue = "inspected" // which the worker serves
	missingQueue   = "nobody-inspects"
	missingJob     = "nobody"
	secretText     = "s3cr3t-of-a-job" // in payloads and header values
)

// inspected is a system with its inspector. Errors of the inspector must not have
// what a job keeps to itself, whatever a check is about.
type inspected struct {
	*subject
	view  inspect.Inspector
	queue string // "" if the executor refuses core.Queue
}

// inspect opens a system with an inspector.
func (p *probe) inspect(s Setup, handlers ...worker.Handler) *inspected {
	if s.Queues == nil {
		s.Queues = []string{inspectedQueue}
	}
	i := &inspected{subject: p.open(s, handlers...)}
	if i.view = i.sys.Inspector; i.view == nil {
		p.lacks("System.Inspector")
	}
	if s.Queues[0] != "" && i.honours(core.OptionQueue) {
		i.queue = s.Queues[0]
	}
	return i
}

// job makes a job in the queue of the check.
func (i *inspected) job(plan handler, opts ...core.Option) job {
	return i.make(plan, append(i.where(), opts...)...)
}

func (i *inspected) where() []core.Option {
	if i.queue == "" {
		return nil
	}
	return []core.Option{core.Queue(i.queue)}
}

// queueName is the name of the queue in what an inspector returns.
func (i *inspected) queueName() string {
	if i.queue == "" {
		return "default"
	}
	return i.queue
}

// onceDead is a handler that fails for good, and in later runs does what then does.
func onceDead(then handler) handler {
	return func(r *run) error {
		if r.ordinal == 1 {
			return worker.Permanent(errOnPurpose)
		}
		if then == nil {
			return nil
		}
		return then(r)
	}
}

// must ends the check if the inspector returned an error.
func (i *inspected) must(what string, err error) {
	if err != nil {
		i.discreet(what, err)
		i.p.fail(what+" succeeds", "%v", err)
	}
}

// want ends the check if errors.Is does not find the error.
func (i *inspected) want(what string, err, want error) {
	i.discreet(what, err)
	if !errors.Is(err, want) {
		i.p.fail(fmt.Sprintf("%s: the error %q", what, want), "%v", err)
	}
}

// discreet ends the check if an error shows a payload or the value of a header.
func (i *inspected) discreet(what string, err error) {
	if err != nil && strings.Contains(err.Error(), secretText) {
		i.p.fail(what+": an error without payload and header values", "%v", err)
	}
}

// refuses reports whether the inspector refuses something, which it must do with a
// reason.
func (i *inspected) refuses(what string, err error) (reason string, refused bool) {
	i.discreet(what, err)
	if !errors.Is(err, core.ErrUnsupported) {
		return "", false
	}
	var why *inspect.UnsupportedError
	if !errors.As(err, &why) || why.Executor == "" || why.Action == "" || why.Reason == "" {
		i.p.fail(what+" is refused with an *inspect.UnsupportedError that has executor, action and reason", "%#v", err)
	}
	return why.Reason, true
}

// lists reports whether jobs of a state can be listed.
func (i *inspected) lists(state inspect.State) bool {
	_, err := i.view.List(i.p.ctx, inspect.Query{Queue: i.queue, State: state})
	_, refused := i.refuses("List of "+string(state)+" jobs", err)
	return !refused
}

// keepsDead ends the check if dead jobs are not kept.
func (i *inspected) keepsDead() {
	if _, err := i.view.RetryAll(i.p.ctx, inspect.Selection{Queue: i.queue, Limit: 1}); err != nil {
		if reason, refused := i.refuses("RetryAll", err); refused {
			i.p.notApplicable("dead jobs cannot be retried: %s", reason)
		}
	}
}

// all returns the jobs in a state.
func (i *inspected) all(state inspect.State) []inspect.Job {
	var jobs []inspect.Job
	for j, err := range inspect.All(i.p.ctx, i.view, inspect.Query{Queue: i.queue, State: state}) {
		if errors.Is(err, inspect.ErrNotFound) { // the queue has gone with its last job
			return nil
		}
		i.must("List of "+string(state)+" jobs", err)
		jobs = append(jobs, j)
	}
	return jobs
}

func (i *inspected) depth() inspect.Depth {
	d, err := i.view.Depth(i.p.ctx, i.queue)
	i.must("Depth", err)
	return d
}

// until waits until missing returns "".
func (i *inspected) until(want string, missing func() string) {
	i.untilWithin(i.patience(), want, missing)
}

func (i *inspected) untilWithin(within time.Duration, want string, missing func() string) {
	pause := max(within/2000, time.Millisecond)
	for end := time.Now().Add(within); ; i.p.sleep(pause) {
		what := missing()
		switch {
		case what == "":
			return
		case time.Now().After(end):
			i.p.fail(want, "%s, for %v", what, within)
		}
	}
}

// awaitState waits until Get returns a job in a state.
func (i *inspected) awaitState(id string, state inspect.State) (found inspect.Job) {
	i.until(fmt.Sprintf("the job is %s", state), func() string {
		j, err := i.view.Get(i.p.ctx, i.queue, id)
		i.discreet("Get", err)
		if err != nil {
			return err.Error()
		}
		if found = j; j.State != state {
			return "it is " + string(j.State)
		}
		return ""
	})
	return found
}

// dead sends jobs that die in their first run, and waits until they are dead.
func (i *inspected) dead(jobs ...job) {
	i.accept(single, jobs...)
	for _, j := range jobs {
		i.awaitState(j.in.ID, inspect.Dead)
	}
}

// still sends n jobs that stay in the state that is returned: delayed ones if these
// can be listed, else dead ones. Every second one is of the other task.
func (i *inspected) still(n int) (state inspect.State, jobs []job) {
	opts := i.where()
	state = inspect.Dead
	if i.honours(core.OptionDelay) && i.lists(inspect.Delayed) {
		state = inspect.Delayed
		opts = append(opts, core.Delay(time.Hour))
	} else {
		i.keepsDead()
	}
	for k := range n {
		if k%2 == 0 {
			jobs = append(jobs, i.make(onceDead(nil), opts...))
			continue
		}
		jobs = append(jobs, i.makeRaw([]byte(fmt.Sprintf(`"raw %d"`, k)), opts...))
		i.mu.Lock()
		i.plans[jobs[k].ref] = onceDead(nil)
		i.mu.Unlock()
	}
	i.accept(single, jobs...)
	for _, j := range jobs {
		i.awaitState(j.in.ID, state)
	}
	return state, jobs
}

func idsOf(jobs []job) map[string]bool {
	ids := map[string]bool{}
	for _, j := range jobs {
		ids[j.in.ID] = true
	}
	return ids
}
