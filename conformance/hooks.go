package conformance

import (
	"context"
	"fmt"
	"maps"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"github.com/goairlock/airlock/core"
)

// hook is a call of one of the harness's functions, or of the executor, that has not
// returned.
type hook struct {
	name  string
	since time.Time
}

// enter notes that a function of the harness is called. The function that it returns
// notes the return.
func (p *probe) enter(format string, args ...any) (leave func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lastHook++
	n := p.lastHook
	p.hooks[n] = hook{fmt.Sprintf(format, args...), time.Now()}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.hooks, n)
	}
}

// outside calls a function of the harness that belongs to no system. The goroutines
// that it starts, such as those of a restarted server, are not the check's.
func (p *probe) outside(name string, f func() error) error {
	defer p.enter("%s", name)()
	done := make(chan error, 1)
	go func() {
		pprof.SetGoroutineLabels(context.Background())
		defer func() {
			if v := recover(); v != nil {
				done <- &core.PanicError{Value: v, Stack: debug.Stack()}
			}
		}()
		done <- f()
	}()
	return <-done
}

// watch returns sys with functions that note their calls, and keeps account of
// whether the worker of s runs.
func (s *subject) watch(sys System) System {
	p := s.p
	enter := func(name string) func() { return p.enter("%s of system %d", name, s.system) }
	exec := sys.Exec
	sys.Exec = func(ctx context.Context, intents ...core.Intent) error {
		if len(intents) == 0 {
			return exec(ctx, intents...)
		}
		defer p.enter("the executor of system %d, called with %d intents", s.system, len(intents))()
		before := slices.Clone(intents)
		err := exec(ctx, intents...)
		p.forms.called(err, before, intents, sys.Inline)
		return err
	}
	if start := sys.Start; start != nil {
		sys.Start = func(ctx context.Context) error {
			defer enter("System.Start")()
			defer s.setLife(running)
			return start(ctx)
		}
	}
	if stop := sys.Stop; stop != nil {
		sys.Stop = func(ctx context.Context) error {
			defer enter("System.Stop")()
			s.setLife(stopped)
			err := stop(ctx)
			p.secret.look("the error of Stop", err)
			return err
		}
	}
	if kill := sys.Kill; kill != nil {
		sys.Kill = func() error {
			defer enter("System.Kill")()
			s.setLife(stopped)
			return kill()
		}
	}
	if freeze := sys.Freeze; freeze != nil {
		sys.Freeze = func() (func() error, error) {
			defer enter("System.Freeze")()
			thaw, err := freeze()
			return func() error {
				defer enter("the function that System.Freeze has returned,")()
				return thaw()
			}, err
		}
	}
	if stored := sys.Stored; stored != nil {
		sys.Stored = func(ctx context.Context) ([]Record, error) {
			defer enter("System.Stored")()
			return stored(ctx)
		}
	}
	if corrupt := sys.Corrupt; corrupt != nil {
		sys.Corrupt = func(ctx context.Context, task string) error {
			defer enter("System.Corrupt")()
			return corrupt(ctx, task)
		}
	}
	if later := sys.Later; later != nil {
		sys.Later = func(ctx context.Context, task string) error {
			defer enter("System.Later")()
			return later(ctx, task)
		}
	}
	return sys
}

// whatHangs says what a check waits for that does not come to its end: which
// functions have not returned, which jobs have not started, and the stacks.
func (p *probe) whatHangs() string {
	var parts []string
	p.mu.Lock()
	open := slices.Collect(maps.Values(p.hooks))
	p.mu.Unlock()
	slices.SortFunc(open, func(a, b hook) int { return a.since.Compare(b.since) })
	calls := map[string]int{}
	for _, h := range open {
		if calls[h.name]++; calls[h.name] == 1 {
			parts = append(parts, fmt.Sprintf("%s has not returned for %v", h.name, time.Since(h.since).Round(time.Millisecond)))
		}
	}
	for i, h := range slices.Sorted(maps.Keys(calls)) {
		if n := calls[h]; n > 1 && i < 10 {
			parts = append(parts, fmt.Sprintf("%d calls of %s are open", n, h))
		}
	}
	if text := p.notStarted(); text != "" {
		parts = append(parts, text)
	}
	if len(parts) == 0 {
		parts = []string{"no function of the harness is running, and every accepted job has started"}
	}
	const most = 6
	var stacks []string
	for _, g := range p.goroutines() {
		if g.foreign() {
			stacks = append(stacks, g.String())
		}
	}
	if left := len(stacks) - most; left > 0 {
		stacks = append(stacks[:most], fmt.Sprintf("and %d further stacks", left))
	}
	return strings.Join(parts, "; ") + "\n" + strings.Join(stacks, "\n")
}

// stacksOfCalls returns the stacks of the calls of the executor.
func (p *probe) stacksOfCalls() string {
	var stacks []string
	for _, g := range p.goroutines() {
		if g.has("conformance.(*subject).callExec") {
			stacks = append(stacks, g.String())
		}
	}
	return strings.Join(stacks, "\n")
}

// notStarted counts the accepted jobs that no handler was called for, by queue.
func (p *probe) notStarted() string {
	events := p.hist.all()
	waiting := waitingJobs(events)
	byQueue := map[string]int{}
	for _, w := range waiting {
		byQueue[w.queue]++
	}
	var parts []string
	for _, q := range slices.Sorted(maps.Keys(byQueue)) {
		parts = append(parts, fmt.Sprintf("%d of queue %q", byQueue[q], q))
	}
	if len(parts) == 0 {
		return ""
	}
	return fmt.Sprintf("%d accepted jobs have not started: %s", len(waiting), strings.Join(parts, ", "))
}
