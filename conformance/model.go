package conformance

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/goairlock/airlock/core"
)

var modelChecks = []check{
	{id: "M01", level: Options, run: randomHistories, limit: 2 * time.Minute, bare: true,
		title: "in random histories of jobs with many options, made at different times, with workers that come and go, everything happens as a model of the contract predicts",
		why:   "what breaks in production is a combination that nobody has thought of, at a moment that nobody has tried"},
}

// history is what happens in one run of the model's check. It is a value, so that it
// can be made smaller and run again.
type history struct {
	slots int // of each worker
	deeds []deed
}

// deed is one thing that is done at a time.
type deed struct {
	at     time.Duration // since the beginning
	kind   deedKind
	jobs   []*plannedJob // of a call
	second bool          // the call is made by the second system, if there is one
	gone   bool          // the call's context is cancelled when it has returned
}

type deedKind string

const (
	deedCall    deedKind = "call"    // of the executor
	deedRefused deedKind = "refused" // a call that is refused, since there is an option of another executor in it
	deedLate    deedKind = "late"    // a call whose context is done
	deedJoin    deedKind = "join"    // a second system of the namespace starts
	deedReplace deedKind = "replace" // the first system's worker stops, and another system takes its place
	deedCrash   deedKind = "crash"   // the same, without an orderly stop
)

// plannedJob is a job as it is drawn. Zero fields are options that are not set.
type plannedJob struct {
	name     int
	queue    string
	delay    time.Duration
	past     bool // its time is past
	priority int
	attempts int
	backoff  core.BackoffPolicy
	timeout  time.Duration
	deadline time.Duration
	id, key  int // numbers of chosen IDs and keys
	headers  int
	body     int
	acts     []act
	again    int // the name of an earlier job, which is sent again
}

// act is what a handler does in one run.
type act struct {
	lasts  time.Duration
	heeds  bool // it returns when its context ends
	answer answer
}

func (a act) String() string {
	text := a.answer.name
	if a.lasts > 0 {
		text += fmt.Sprintf(" after %v", a.lasts)
		if a.heeds {
			text += " unless its context ends"
		}
	}
	return text
}

func (j *plannedJob) act(ordinal int) act {
	if ordinal <= len(j.acts) {
		return j.acts[ordinal-1]
	}
	return act{answer: succeeds}
}

// options returns the options of the job's intent. prefix makes IDs and keys
// different from those of other histories.
func (j *plannedJob) options(prefix string) (opts []core.Option) {
	now := time.Now()
	add := func(set bool, o func() core.Option) {
		if set {
			opts = append(opts, o())
		}
	}
	add(j.queue != "", func() core.Option { return core.Queue(j.queue) })
	add(j.delay > 0, func() core.Option { return core.Delay(j.delay) })
	add(j.past, func() core.Option { return core.At(now.Add(-time.Hour)) })
	add(j.priority > 0, func() core.Option { return core.Priority(j.priority) })
	add(j.attempts > 0, func() core.Option { return core.MaxAttempts(j.attempts) })
	add(!j.backoff.IsZero(), func() core.Option { return core.Backoff(j.backoff) })
	add(j.timeout > 0, func() core.Option { return core.Timeout(j.timeout) })
	add(j.deadline > 0, func() core.Option { return core.Deadline(now.Add(j.deadline)) })
	add(j.id > 0, func() core.Option { return core.ID(fmt.Sprintf("%s-id-%d", prefix, j.id)) })
	add(j.key > 0, func() core.Option { return core.Unique(fmt.Sprintf("key-%d", j.key)) })
	for i := range j.headers {
		opts = append(opts, core.Header(fmt.Sprintf("Key-%d", i), fmt.Sprintf("value %d of %d", i, j.name)))
	}
	return opts
}

func (j *plannedJob) String() string {
	if j.again > 0 {
		return fmt.Sprintf("job %d again", j.again)
	}
	var parts []string
	add := func(set bool, format string, args ...any) {
		if set {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	add(j.queue != "", "queue %s", j.queue)
	add(j.delay > 0, "delay %v", j.delay)
	add(j.past, "at a past time")
	add(j.priority > 0, "priority %d", j.priority)
	add(j.attempts > 0, "max attempts %d", j.attempts)
	add(!j.backoff.IsZero(), "backoff %v to %v", j.backoff.First, j.backoff.Max)
	add(j.timeout > 0, "timeout %v", j.timeout)
	add(j.deadline > 0, "deadline in %v", j.deadline)
	add(j.id > 0, "ID %d", j.id)
	add(j.key > 0, "key %d", j.key)
	add(j.headers > 0, "%d headers", j.headers)
	add(j.body > 0, "a body of %d bytes", j.body)
	for i, a := range j.acts {
		add(true, "run %d: %v", i+1, a)
	}
	return strings.TrimSuffix(fmt.Sprintf("job %d: %s", j.name, strings.Join(parts, ", ")), ": ")
}

func (d deed) String() string {
	at := fmt.Sprintf("%12v  ", d.at)
	switch d.kind {
	case deedJoin:
		return at + "a second system starts"
	case deedReplace:
		return at + "the first system is stopped, and another one takes its place"
	case deedCrash:
		return at + "the first system is killed, and another one takes its place"
	}
	var lines []string
	for _, j := range d.jobs {
		lines = append(lines, j.String())
	}
	what := map[deedKind]string{deedRefused: "call that is refused, with ", deedLate: "call whose context is done, with "}[d.kind]
	text := at + cmp.Or(what, "call with ") + strings.Join(lines, "\n"+strings.Repeat(" ", 14)+"     and ")
	if d.second {
		text += " (by the second system)"
	}
	if d.gone {
		text += " (its context is cancelled after it)"
	}
	return text
}

func (h history) String() string {
	lines := []string{fmt.Sprintf("the history, with workers of %d slots:", h.slots)}
	for _, d := range h.deeds {
		lines = append(lines, d.String())
	}
	return strings.Join(lines, "\n")
}

// jobs counts the jobs of a history.
func (h history) jobs() (n int) {
	for _, d := range h.deeds {
		n += len(d.jobs)
	}
	return n
}

func randomHistories(p *probe) {
	first := p.open(Setup{}) // for its capabilities, and the time that a call takes
	began := time.Now()
	first.accept(single, first.make(nil))
	margin := min(p.slack(), time.Second) + 2*time.Since(began)
	d := newDrawer(p, first)
	n := 4
	if p.bubble {
		n = 30
	}
	for left := p.rounds(n); left > 0; left -= p.abreast() {
		var some []history
		for range min(left, p.abreast()) {
			some = append(some, d.history())
		}
		for i, what := range p.playAll(some, margin) {
			p.witness("jobs", some[i].jobs())
			if what != "" {
				small, still := p.shrinkHistory(some[i], margin, what)
				p.fail("a random history goes as the model predicts", "%s\n%v\n(shrunk from %d jobs to %d)", still, small, some[i].jobs(), small.jobs())
			}
		}
	}
}

// shrinkHistory looks for a smaller history in which something is wrong too.
func (p *probe) shrinkHistory(h history, margin time.Duration, what string) (history, string) {
	tries := 24
	if p.bubble {
		tries = 250
	}
	for again := true; again; {
		again = false
		for some := range h.smallerIn(p.abreast()) {
			some = some[:min(len(some), tries)]
			tries -= len(some)
			found := p.playAll(some, margin)
			i := slices.IndexFunc(found, func(what string) bool { return what != "" })
			if again = i >= 0; again {
				h, what = some[i], found[i]
			}
			if again || tries == 0 {
				break
			}
		}
		again = again && tries > 0
	}
	return h, what
}
