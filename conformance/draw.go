package conformance

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// drawer draws random histories for one executor.
type drawer struct {
	p    *probe
	s    *subject
	rand *rand.Rand
	unit time.Duration // the shortest time that the executor keeps
	used map[core.OptionName]bool
	next int // name of the next job

	crowded bool // many jobs wait for one slot
}

// minUnit is the shortest time in a history outside a bubble.
const minUnit = 50 * time.Millisecond

func newDrawer(p *probe, s *subject) *drawer {
	d := &drawer{p: p, s: s, rand: p.rand, unit: time.Millisecond}
	for _, n := range []core.OptionName{core.OptionDelay, core.OptionBackoff} {
		d.unit = max(d.unit, s.caps.Options[n].Granularity)
	}
	if !p.bubble {
		d.unit = max(d.unit, minUnit)
	}
	return d
}

func (d *drawer) chance(percent int) bool { return d.rand.IntN(100) < percent }

// span draws a time. In a bubble it is short as often as long, up to an hour.
func (d *drawer) span() time.Duration {
	if !d.p.bubble {
		return d.unit + time.Duration(d.rand.Int64N(int64(d.unit)))
	}
	longest := time.Hour
	if d.crowded {
		longest = max(2*time.Minute, 2*d.unit)
	}
	low, high := math.Log(float64(d.unit)), math.Log(float64(longest))
	return time.Duration(math.Exp(low + d.rand.Float64()*(high-low)))
}

// within is span up to the longest value that the executor takes of an option.
func (d *drawer) within(name core.OptionName) time.Duration {
	t := d.span()
	if most := d.s.caps.Options[name].Longest; most > 0 {
		t = min(t, most)
	}
	return t
}

// history draws a history. It has only some of the options and some of the events,
// and others have others: what occurs always hides what occurs only without it.
func (d *drawer) history() history {
	d.used = map[core.OptionName]bool{}
	for _, n := range core.PortableOptions() {
		d.used[n] = d.s.honours(n) && d.chance(60)
	}
	if !d.p.bubble { // the backend's own limits and schedules take too long
		for _, n := range []core.OptionName{core.OptionMaxAttempts, core.OptionBackoff} {
			d.used[n] = d.s.honours(n)
		}
	}
	d.next = 0
	h := history{slots: 32}
	calls := 4
	if d.p.bubble {
		h.slots = []int{1, 1, 2, 3, 32}[d.rand.IntN(5)]
		calls = 1 + d.rand.IntN(25)
		if d.crowded = d.chance(25); d.crowded {
			h.slots, calls = 1, 10+d.rand.IntN(20)
			d.used[core.OptionQueue] = false
			d.used[core.OptionPriority] = d.s.honours(core.OptionPriority) && d.chance(80)
		}
	}
	durable := !d.s.sys.Inline && d.s.caps.Durability == core.DurabilityBroker
	events := durable && !d.crowded && d.chance(60)
	joined := false
	var names []*plannedJob
	for at := time.Duration(0); len(h.deeds) < calls; at += d.pause() {
		kind := d.rand.IntN(12)
		switch {
		case events && kind == 0 && !joined:
			joined = true
			h.deeds = append(h.deeds, deed{at: at, kind: deedJoin})
		case events && kind == 1 && d.s.sys.Stop != nil:
			h.deeds = append(h.deeds, deed{at: at, kind: deedReplace})
		case events && kind == 2 && d.p.bubble && d.s.sys.Kill != nil:
			h.deeds = append(h.deeds, deed{at: at, kind: deedCrash})
		default:
			c := deed{at: at, kind: deedCall, second: joined && d.chance(50), gone: d.chance(50)}
			switch d.rand.IntN(20) {
			case 0:
				c.kind = deedRefused
			case 1:
				c.kind = deedLate
			}
			for range 1 + d.rand.IntN(2)*d.rand.IntN(6) {
				j := d.job(names)
				names = append(names, j)
				c.jobs = append(c.jobs, j)
			}
			h.deeds = append(h.deeds, c)
		}
	}
	return h
}

// pause draws the time between two deeds. It is often none.
func (d *drawer) pause() time.Duration {
	switch {
	case d.chance(30):
		return 0
	case !d.p.bubble:
		return time.Duration(d.rand.Int64N(int64(300 * time.Millisecond)))
	}
	if d.crowded {
		return d.span()/20 + time.Duration(d.rand.IntN(1000))
	}
	return d.span()/4 + time.Duration(d.rand.IntN(1000))
}

// job draws a job, or one of the earlier ones again.
func (d *drawer) job(earlier []*plannedJob) *plannedJob {
	d.next++
	if len(earlier) > 0 && d.s.caps.IDWindow.Kind != "" && d.chance(10) {
		if again := earlier[d.rand.IntN(len(earlier))]; again.again == 0 {
			return &plannedJob{name: d.next, again: again.name}
		}
	}
	for {
		if j := d.newJob(); d.p.bubble || d.least(j) <= d.longest() {
			return j
		}
	}
}

// longest is how long a job may take outside a bubble, where time passes.
func (d *drawer) longest() time.Duration { return 4*d.unit + 2*time.Second }

// least is how long a job takes at least, with all its runs and waits.
func (d *drawer) least(j *plannedJob) time.Duration {
	took := j.delay
	for i, a := range j.acts {
		took += a.lasts + a.answer.verdictOf(worker.Delivery{Attempt: i + 1, Backoff: j.backoff}).After
	}
	return took
}

// newJob draws a job that is none of the earlier ones.
func (d *drawer) newJob() *plannedJob {
	j := &plannedJob{name: d.next}
	has := func(n core.OptionName, percent int) bool { return d.used[n] && d.chance(percent) }
	if has(core.OptionQueue, 30) {
		j.queue = "left"
	}
	if has(core.OptionDelay, 40) {
		if j.delay = d.within(core.OptionDelay); d.chance(20) {
			j.delay, j.past = 0, true
		}
	}
	if has(core.OptionPriority, 60) {
		j.priority = 1 + d.rand.IntN(10)
	}
	if has(core.OptionID, 40) {
		if j.id = 1 + d.rand.IntN(4); d.s.caps.IDWindow.Kind == "" {
			j.id = 100 + j.name // what becomes of a second job is not declared
		}
	}
	if has(core.OptionUnique, 40) {
		j.key = 1 + d.rand.IntN(3)
	}
	if has(core.OptionTimeout, 40) {
		if j.timeout = d.within(core.OptionTimeout); !d.p.bubble {
			j.timeout = max(j.timeout, 4*minUnit, d.s.caps.Options[core.OptionTimeout].Granularity)
		}
	}
	if has(core.OptionDeadline, 30) {
		if j.deadline = j.delay + d.within(core.OptionDeadline) + d.unit; !d.p.bubble {
			j.deadline += time.Hour
		}
	}
	if has(core.OptionHeader, 40) {
		j.headers = 1 + d.rand.IntN(3)
	}
	j.body = d.rand.IntN(2) * d.rand.IntN(200)
	d.attempts(j)
	return j
}

// attempts draws how often a job runs, and what its handler does.
func (d *drawer) attempts(j *plannedJob) {
	limited := d.s.honours(core.OptionMaxAttempts)
	most := 1
	if limited || d.s.caps.DefaultAttempts > 5 {
		most = 8
	}
	if limited && d.used[core.OptionMaxAttempts] && (d.chance(70) || !d.p.bubble) {
		j.attempts = 1 + d.rand.IntN(min(8, d.most()))
	}
	if d.used[core.OptionBackoff] && (d.chance(70) || !d.p.bubble) {
		first := d.within(core.OptionBackoff)
		j.backoff = core.Fixed(first)
		if d.chance(50) {
			j.backoff = core.Exponential(first, first<<d.rand.IntN(7))
		}
		if most := d.s.caps.Options[core.OptionBackoff].Longest; most > 0 {
			j.backoff.Max = max(j.backoff.First, min(j.backoff.Max, most))
		}
	}
	if !d.p.bubble && j.attempts == 0 || d.chance(40) {
		most = 0 // it succeeds at once
	}
	n := d.rand.IntN(most + 1)
	for range n {
		j.acts = append(j.acts, d.act(j))
	}
	if d.chance(20) { // it fails each time
		j.acts = slices.Repeat([]act{{answer: fails}}, max(j.attempts, n))
	}
	if d.crowded && len(j.acts) == 0 {
		j.acts = []act{{lasts: d.span() / 4, answer: succeeds}}
	}
}

func (d *drawer) most() int {
	most := math.MaxInt
	if !d.p.bubble {
		most = 3
	}
	if claimed := d.s.caps.Options[core.OptionMaxAttempts].Most; claimed > 0 {
		most = min(most, claimed)
	}
	return most
}

func (d *drawer) act(j *plannedJob) act {
	wait := max(d.s.shortest(), d.within(core.OptionDelay))
	answers := someAnswers(wait)
	if d.chance(40) {
		answers = manyAnswers(wait)
	} else if d.chance(60) {
		answers = []answer{fails}
	}
	a := act{answer: answers[d.rand.IntN(len(answers))], heeds: d.chance(50)}
	switch {
	case j.timeout > 0 && d.chance(40):
		a.lasts = j.timeout + d.span()/2 // runs into its timeout
	case d.chance(30) || d.crowded && d.chance(50):
		a.lasts = d.span() / 2
	}
	return a
}
