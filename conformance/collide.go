package conformance

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/goairlock/airlock/core"
)

// namePair are two valid names that a store might confuse.
type namePair struct {
	a, b string
	how  string
}

// nearNames returns pairs of names that begin with prefix, have the greatest length,
// and differ in one character of a class. The place is random, at the end, and behind
// 63 bytes. valid says which names can be used.
func (p *probe) nearNames(prefix string, length int, valid func(string) bool) []namePair {
	classes := []struct{ how, a, b string }{
		{"letters", "k", "w"}, {"the case of a letter", "k", "K"}, {"digits", "3", "8"}, {"a letter and a digit", "o", "0"},
		{"- and _", "-", "_"}, {". and -", ".", "-"}, {". and _", ".", "_"}, {": and /", ":", "/"}, {"a sign and nothing else", "-", "."},
		{"quotes", `"`, `'`}, {"* and >", "*", ">"}, {"% and +", "%", "+"}, {"é and è", "é", "è"},
	}
	random := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = "abcdefghijklmnopqrstuvwxyz0123456789"[p.rand.IntN(36)]
		}
		return string(b)
	}
	var pairs []namePair
	for i, c := range classes {
		wide := max(len(c.a), len(c.b))
		room := length - len(prefix) - wide
		if room < 2 {
			break
		}
		places := []int{1 + p.rand.IntN(room-1), room, max(0, 63-len(prefix))}
		at := min(places[i%len(places)], room)
		head, tail := random(at), random(room-at)
		for _, at := range []int{at, places[0]} { // a sign may not be allowed at the end
			if at != len(head) {
				head, tail = random(at), random(room-at)
			}
			pair := namePair{prefix + head + c.a + tail, prefix + head + c.b + tail, c.how}
			if valid(pair.a) && valid(pair.b) {
				pairs = append(pairs, pair)
				break
			}
		}
	}
	// One is the beginning of the other, and two that differ only behind 64 bytes.
	long := prefix + random(length-len(prefix))
	pairs = append(pairs, p.nearSigns(prefix, length, random, valid)...)
	pairs = append(pairs, p.nearEdges(prefix, valid)...)
	for _, pair := range []namePair{
		{long, long[:length-1], "the last byte"}, {long[:min(64, length)], long[:min(63, length-1)], "the 64th byte"},
		{prefix + "-name", prefix + "-name.", "a . at the end"}, {prefix + "-name", prefix + "-NAME", "upper case"},
	} {
		if valid(pair.a) && valid(pair.b) && pair.a != pair.b {
			pairs = append(pairs, pair)
		}
	}
	return pairs
}

// nearSigns returns pairs that differ in a sign, in how often it is there, or in a
// character that is left out. Half of them are short, so that nothing is cut of them,
// and the others begin with the same long text.
func (p *probe) nearSigns(prefix string, length int, random func(n int) string, valid func(string) bool) (pairs []namePair) {
	signs := []string{"-", "_", ".", "/", ":", "+", " ", "~", "%", "é", "0"}
	var classes []namePair
	for i, a := range signs {
		b := signs[(i+1+p.rand.IntN(len(signs)-1))%len(signs)]
		if a != b {
			classes = append(classes, namePair{a, b, fmt.Sprintf("%q and %q", a, b)})
		}
		classes = append(classes, namePair{a + a, a, fmt.Sprintf("%q twice", a)}, namePair{a + "x", "x", fmt.Sprintf("%q that is left out", a)})
	}
	classes = append(classes, namePair{"/", ".", "/ and ."}, namePair{":", ".", ": and ."}, namePair{" ", "_", "a space and _"},
		namePair{"é", "e\u0301", "composed and decomposed"}, namePair{"ß", "ss", "ß and ss"}, namePair{"07", "7", "a leading zero"})
	p.rand.Shuffle(len(classes), func(i, k int) { classes[i], classes[k] = classes[k], classes[i] })
	for i, c := range classes {
		room := length - len(prefix) - max(len(c.a), len(c.b))
		if i%2 == 0 {
			room = min(room, 6)
		}
		if room < 4 {
			continue
		}
		at := 1 + p.rand.IntN(room-2)
		head, tail := random(at), random(room-at)
		pair := namePair{prefix + head + c.a + tail, prefix + head + c.b + tail, c.how}
		if valid(pair.a) && valid(pair.b) {
			pairs = append(pairs, pair)
		}
	}
	return pairs
}

// nearEdges returns pairs of short names that differ only at their beginning or at their
// end, or in how they are written.
func (p *probe) nearEdges(prefix string, valid func(string) bool) (pairs []namePair) {
	escaped := fmt.Sprintf("%%%02x", 'A'+p.rand.IntN(26))
	plain, _ := url.PathUnescape(escaped)
	for i, c := range []struct{ how, a, b string }{
		{"a space at the beginning", " %s", "%s"}, {"a space at the end", "%s ", "%s"}, {"a wide space at the end", "%s\u3000", "%s"},
		{"a zero at the beginning", "0%s", "%s"}, {"a sign at the beginning", "+%s", "%s"}, {"a _ at the beginning", "_%s", "%s"},
		{"a / at the beginning", "/%s", "%s"}, {"quotes around it", `"%s"`, "%s"}, {"brackets around it", "{%s}", "%s"},
		{"an escaped letter", "%s" + strings.ReplaceAll(escaped, "%", "%%"), "%s" + plain},
		{"an escape in upper case", "%s%%2F", "%s%%2f"}, {"an escaped backslash", `%s\\`, `%s\`},
		{"letters that are not Latin", "%s世界", "%s東京"}, {"Cyrillic letters", "%sж", "%sя"}, {"signs outside the first 65536", "%s👋", "%s👍"},
		{"letters that look alike", "%sa", "%sа"}, {"upper case that is not ASCII", "%sÉ", "%sé"}, {"a joined letter", "%sﬁ", "%sfi"},
	} {
		stem := fmt.Sprintf("%s-edge%d", prefix, i)
		pair := namePair{fmt.Sprintf(c.a, stem), fmt.Sprintf(c.b, stem), c.how}
		if valid(pair.a) && valid(pair.b) {
			pairs = append(pairs, pair)
		}
	}
	return pairs
}

// The greatest lengths of names, see package core.
const (
	longestID, longestKey, longestTask, longestQueue, longestHeaderKey = 200, 255, 127, 64, 128
)

func namesOf(pairs []namePair) []string {
	var names []string
	seen := map[string]bool{}
	for _, pair := range pairs {
		for _, n := range []string{pair.a, pair.b} {
			if !seen[n] {
				seen[n], names = true, append(names, n)
			}
		}
	}
	return names
}

// apart sends jobs with names that are easily confused. Those of a pair, and of some
// pairs, are unfinished at the same time. Each must be accepted and run.
func (s *subject) apart(what string, length int, option func(name string) core.Option) {
	valid := func(name string) bool {
		in, err := s.ledger.job.Intent(jobArgs{}, option(name))
		return err == nil && s.caps.Check(in) == nil
	}
	const atOnce = 20 // a pool may have room for few jobs
	used := map[string]bool{}
	for some := range slices.Chunk(s.p.nearNames(s.setup.Namespace, length, valid), atOnce) {
		var names []string
		for _, name := range namesOf(some) {
			if !used[name] {
				used[name], names = true, append(names, name)
			}
		}
		s.apartAtOnce(what, names, option)
	}
}

func (s *subject) apartAtOnce(what string, names []string, option func(name string) core.Option) {
	open := make(chan struct{})
	hold := s.p.hold(open)
	if s.sys.Inline {
		hold = nil
	}
	var jobs []job
	for _, name := range names {
		j := s.make(hold, option(name))
		s.wantState(what+" that differs slightly from another one", core.Accepted, j)
		jobs = append(jobs, j)
	}
	close(open)
	s.awaitRuns(jobs)
}

// gluedKeys sends jobs to two queues whose names and unique keys are the same text
// when they are joined.
func (s *subject) gluedKeys() {
	if !s.honours(core.OptionQueue) {
		return
	}
	open := make(chan struct{})
	first := s.make(s.p.hold(open), core.Queue("left"), core.Unique("right-key"))
	second := s.make(s.p.hold(open), core.Queue("left-right"), core.Unique("-key"))
	third := s.make(s.p.hold(open), core.Unique("leftright-key"))
	for _, j := range []job{first, second, third} {
		s.wantState("a key that equals another one only if queue and key are joined", core.Accepted, j)
	}
	close(open)
}

// queuesApart sends to pairs of queues of which a worker serves only the first.
func queuesApart(p *probe) {
	pairs := p.nearNames("near", longestQueue, func(name string) bool {
		_, err := core.DeclareTask[int](rawTaskName).Intent(0, core.Queue(name))
		return err == nil
	})
	var first, second []string
	for _, pair := range pairs {
		names := append(slices.Clone(first), second...)
		if !slices.Contains(names, pair.a) && !slices.Contains(names, pair.b) {
			first, second = append(first, pair.a), append(second, pair.b)
		}
	}
	a := p.open(Setup{Queues: first})
	a.need(core.OptionQueue)
	if a.sys.Inline || a.caps.Durability != core.DurabilityBroker { // one worker serves all queues
		a = p.open(Setup{Queues: append(slices.Clone(first), second...)})
		for i, q := range append(first, second...) {
			j := a.make(nil, core.Queue(q))
			a.accept(modes[i%len(modes)], j)
			a.awaitRuns([]job{j})
			if got := a.runsOf(j.ref)[0].Job.Queue; got != q {
				p.fail("the job's queue is "+q, "%q", got)
			}
		}
		return
	}
	b := p.open(Setup{Queues: second, Namespace: a.setup.Namespace, Paused: true})
	var mine, theirs []job
	for i := range first {
		j, other := a.make(nil, core.Queue(first[i])), a.make(nil, core.Queue(second[i]))
		a.accept(modes[i%len(modes)], j, other)
		mine, theirs = append(mine, j), append(theirs, other)
	}
	a.awaitRuns(mine)
	a.hush()
	for i, j := range theirs {
		if a.count(j.ref) > 0 {
			p.fail("a worker of queue "+first[i]+" runs no job of queue "+second[i], "it did")
		}
	}
	b.start()
	if !b.awaitAll(p.patience(), len(theirs), b.inherits) {
		p.fail("the jobs of the second queues run in their own worker", "%d of %d", b.inherits(), len(theirs))
	}
}
