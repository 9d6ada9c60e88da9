package conformance

import (
	"bytes"
	"context"
	"fmt"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	labelKey        = "conformance"
	wantNoGoroutine = "no goroutine is left when the harness has stopped everything"
)

// labelled returns ctx with the check's profiler label. A goroutine inherits the
// label from the one that starts it, so that it can be seen which goroutines
// belong to which check, although checks run side by side.
func (p *probe) labelled(ctx context.Context) context.Context {
	return pprof.WithLabels(ctx, pprof.Labels(labelKey, p.label))
}

// goroutine is a stack of a running goroutine, and how many have the same.
type goroutine struct {
	count  int
	frames []string // function names with positions, the innermost first
}

// start is the function that the goroutine was started with.
func (g *goroutine) start() string {
	if len(g.frames) == 0 {
		return "unknown"
	}
	name, _, _ := strings.Cut(g.frames[len(g.frames)-1], "+")
	return name
}

// has reports whether one of the names is part of a frame.
func (g *goroutine) has(names ...string) bool {
	return slices.ContainsFunc(g.frames, func(frame string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return strings.Contains(frame, name) })
	})
}

// foreign reports whether a function that is neither the suite's nor of the runtime is
// on the stack.
func (g *goroutine) foreign() bool {
	return slices.ContainsFunc(g.frames, func(frame string) bool {
		for _, own := range []string{"sync.", "runtime.", "time.", "internal/", "github.com/goairlock/airlock/conformance."} {
			if strings.HasPrefix(frame, own) {
				return false
			}
		}
		return true
	})
}

func (g *goroutine) String() string {
	return fmt.Sprintf("  %d goroutines in\n    %s", g.count, strings.Join(g.frames, "\n    "))
}

// goroutines returns the goroutines that were started by this check, by its harness
// on its behalf, or by one of these.
func (p *probe) goroutines() []goroutine {
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		p.logf("no goroutine profile: %v", err)
		return nil
	}
	label := fmt.Sprintf("%q:%q", labelKey, p.label)
	var all []goroutine
	for block := range strings.SplitSeq(profile.String(), "\n\n") {
		if !strings.Contains(block, label) {
			continue
		}
		var g goroutine
		for line := range strings.Lines(block) {
			switch fields := strings.Fields(line); {
			case len(fields) > 1 && fields[1] == "@":
				g.count, _ = strconv.Atoi(fields[0])
			case len(fields) > 2 && fields[0] == "#" && strings.HasPrefix(fields[1], "0x"):
				g.frames = append(g.frames, strings.Join(fields[2:], " "))
			}
		}
		all = append(all, g)
	}
	return all
}

// leftBehind returns the goroutines of this check that should have ended. Those of
// [Harness.Shared] are left out.
func (p *probe) leftBehind() []goroutine {
	return slices.DeleteFunc(p.goroutines(), func(g goroutine) bool { return g.has(p.h.Shared...) })
}

// judgeGoroutines waits until the goroutines of the check have ended, and reports
// whether some are left. A check that has passed then fails. A harness whose
// cleanup has not returned is not judged. A bubble finds such goroutines itself: see
// runInBubble.
func (p *probe) judgeGoroutines(cleanedUp bool) (leaked bool) {
	if p.bubble || !cleanedUp || !p.result.passing() {
		return false
	}
	left := p.leftBehind()
	step := time.Millisecond
	for end := time.Now().Add(p.patience()); len(left) > 0 && time.Now().Before(end); left = p.leftBehind() {
		time.Sleep(step)
		step = min(2*step, p.patience()/20)
	}
	if len(left) == 0 {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.result.fail(p.check.leakKind(), wantNoGoroutine, fmt.Sprintf("after %v there are%s", p.patience(), textOf(left)))
	return true
}

// textOf returns the stacks of some goroutines, each on lines of its own.
func textOf(all []goroutine) string {
	text := ""
	for _, g := range all[:min(len(all), 4)] {
		text += "\n" + g.String()
	}
	return text
}

// leakKind is the kind of failure if goroutines are left. L12 looks for them, and every
// other check finds them at its end.
func (c *check) leakKind() Kind {
	if c.id == leakCheck {
		return Assertion
	}
	return Ending
}

// leaks opens and stops systems, and looks for goroutines that there are more of
// after each.
func (p *probe) leaks() {
	const rounds, each = 8, 25
	cycle := func() {
		p.mu.Lock()
		before := len(p.cleanups)
		p.mu.Unlock()
		s := p.open(Setup{})
		if s.sys.Stop == nil && !s.sys.Inline {
			p.lacks("System.Stop")
		}
		jobs := s.makeN(each)
		s.accept(single, jobs...)
		s.awaitRuns(jobs)
		if s.sys.Stop != nil {
			s.stop()
		}
		p.cleanupTo(before) // closes what the harness has opened for this system
	}
	count := func() map[string]int {
		n := map[string]int{}
		for _, g := range p.leftBehind() {
			n[g.start()] += g.count
		}
		return n
	}
	cycle() // from now on there are pools, and goroutines that start on first use
	before := count()
	for range rounds {
		cycle()
	}
	var grown []string
	for end := time.Now().Add(p.patience()); ; p.sleep(p.patience() / 50) {
		grown = nil
		for start, n := range count() {
			if n-before[start] >= rounds {
				grown = append(grown, fmt.Sprintf("%d of %s, %d before", n, start, before[start]))
			}
		}
		if len(grown) == 0 {
			return
		}
		if time.Now().After(end) {
			slices.Sort(grown)
			p.fail("no goroutine for each dispatch or stop is left", "after %d systems: %s", rounds, strings.Join(grown, "; "))
		}
	}
}
