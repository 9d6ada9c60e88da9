package conformance

import (
	"fmt"
	"strings"

	"github.com/goairlock/airlock/core"
)

// nearNames are names that a store might take for one another: by folding case,
// by cutting what is long, by trimming a mark at the end.
func nearNames(prefix string) []string {
	long := prefix + strings.Repeat("x", 120)
	return []string{prefix + "-name", prefix + "-NAME", prefix + "-name.", long + "-1", long + "-2"}
}

// apart sends jobs with names that are near each other, all unfinished at once,
// and wants each accepted and run.
func (s *subject) apart(what string, option func(name string) core.Option) {
	open := make(chan struct{})
	hold := s.p.hold(open)
	if s.sys.Inline {
		hold = nil
	}
	var jobs []job
	for _, name := range nearNames(s.setup.Namespace) {
		j := s.make(hold, option(name))
		s.wantState(fmt.Sprintf("%s that is not quite another one", what), core.Accepted, j)
		jobs = append(jobs, j)
	}
	close(open)
	s.awaitRuns(jobs)
}

// gluedKeys are keys of two queues whose names and keys make the same text when
// they are joined.
func (s *subject) gluedKeys() {
	if !s.honours(core.OptionQueue) {
		return
	}
	open := make(chan struct{})
	first := s.make(s.p.hold(open), core.Queue("left"), core.Unique("right-key"))
	second := s.make(s.p.hold(open), core.Queue("left-right"), core.Unique("-key"))
	third := s.make(s.p.hold(open), core.Unique("leftright-key"))
	for _, j := range []job{first, second, third} {
		s.wantState("a key that is another one only if queue and key are joined", core.Accepted, j)
	}
	close(open)
}
