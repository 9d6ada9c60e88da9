package conformance

import (
	"runtime"
	"strings"
	"time"
)

// leaks looks for goroutines of many dispatches: it opens and stops systems and
// compares the count. Other checks run meanwhile, so it believes only a growth
// that is there with every look.
func (p *probe) leaks() {
	const rounds, each = 8, 25
	cycle := func() {
		s := p.open(Setup{})
		if s.sys.Stop == nil && !s.sys.Inline {
			p.notRun("the harness has no System.Stop")
		}
		jobs := s.makeN(each)
		s.accept(single, jobs...)
		s.awaitRuns(jobs)
		if s.sys.Stop != nil {
			s.stop()
		}
	}
	cycle() // pools and lazy goroutines are there from now on
	before := goroutines()
	for range rounds {
		cycle()
	}
	after := 0
	for deadline := time.Now().Add(p.patience()); time.Now().Before(deadline); p.sleep(p.patience() / 50) {
		if after = goroutines(); after-before < rounds {
			return
		}
	}
	p.fail("no goroutine for each dispatch or stop is left", "%d goroutines of no check before, %d after %d rounds", before, after, rounds)
}

// goroutines counts those that do not belong to a check.
func goroutines() int {
	buf := make([]byte, 4<<20)
	buf = buf[:runtime.Stack(buf, true)]
	n := 0
	for g := range strings.SplitSeq(string(buf), "\n\n") {
		if !strings.Contains(g, "conformance.(*probe)") && !strings.Contains(g, "conformance.runAll") {
			n++
		}
	}
	return n
}
