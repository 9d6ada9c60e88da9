package compose_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
)

// chance makes decisions from the bytes of a fuzzer. After the last byte every
// decision is 0.
type chance struct {
	mu    sync.Mutex
	bytes []byte
}

func (c *chance) of(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.bytes) == 0 {
		return 0
	}
	b := c.bytes[0]
	c.bytes = c.bytes[1:]
	return int(b) % n
}

// erratic is a plain function that answers at random, in good and bad form. It
// remembers, by the number of the intent, what it said of each, as a reader of its
// answer must understand it.
type erratic struct {
	name string
	*chance

	mu    sync.Mutex
	said  map[int][]core.Outcome
	calls [][]int
}

func (e *erratic) Execute(_ context.Context, list ...core.Intent) (err error) {
	if len(list) == 0 { // a question, which a plain function does not answer
		return nil
	}
	defer func() {
		p := recover()
		e.mu.Lock()
		defer e.mu.Unlock()
		ns := numbers(list)
		e.calls = append(e.calls, ns)
		read := core.OutcomesOf(err, list)
		for i, n := range ns {
			if p != nil || read[i].State > core.Failed {
				read[i].State = core.Unknown
			}
			e.said[n] = append(e.said[n], read[i])
		}
		if p != nil {
			panic(p)
		}
	}()
	switch e.of(10) {
	case 0, 1:
		return nil
	case 2:
		return errBackend
	case 3:
		return []error{core.ErrUnavailable, core.ErrClosed, core.ErrTooLarge, errOption, core.ErrDuplicate}[e.of(5)]
	case 4:
		panic("erratic")
	case 5: // a backend's executor that refuses the call
		out := core.OutcomesOf(core.ErrNotSent, list)
		i := e.of(len(list))
		out[i].State, out[i].Err = core.Rejected, []error{errOption, core.ErrTooLarge}[e.of(2)]
		return core.Combine(out)
	}
	out := make([]core.Outcome, 0, len(list))
	for i := range list {
		o := core.Outcome{ID: list[i].ID, State: core.State(e.of(7))}
		switch o.State {
		case core.Accepted:
		case core.Rejected:
			o.Err = []error{errOption, core.ErrTooLarge}[e.of(2)]
		case core.Failed:
			o.Err = []error{errBackend, errPermanent}[e.of(2)]
		default:
			o.Err = errBackend
		}
		out = append(out, o)
	}
	switch e.of(6) {
	case 0:
		slices.Reverse(out)
	case 1:
		out = out[:e.of(len(out)+1)]
	case 2:
		out = append(out, out[0])
	}
	return fmt.Errorf("erratic: %w", &core.DispatchError{Outcomes: out})
}

// everywhere returns what all executors said of an intent.
func everywhere(n int, execs ...*erratic) (said []core.Outcome) {
	for _, e := range execs {
		said = append(said, e.said[n]...)
	}
	return said
}

func FuzzWrappersKeepTheContract(f *testing.F) {
	f.Add([]byte{})
	for seed := range 8 {
		f.Add(randomBytes(uint64(seed)))
	}
	f.Fuzz(keepTheContract)
}

func TestWrappersKeepTheContractAtRandom(t *testing.T) {
	t.Parallel()
	for seed := range 3000 {
		keepTheContract(t, randomBytes(uint64(seed)))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func randomBytes(seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, 120)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// keepTheContract sends random intents through a random wrapper, or one around
// another, over executors that answer at random.
func keepTheContract(t *testing.T, script []byte) {
	c := &chance{bytes: script}
	first := &erratic{name: "first", chance: c, said: map[int][]core.Outcome{}}
	second := &erratic{name: "second", chance: c, said: map[int][]core.Outcome{}}
	outer, inner := wrapperNames[c.of(len(wrapperNames))], wrapperNames[c.of(len(wrapperNames))]
	mirror := newMirror(t, accept, &compose.MirrorOptions{Buffer: 1})
	exec := build(inner, mirror, first.Execute, second.Execute)
	if nested := c.of(2) == 1; nested && (one(outer) || one(inner)) {
		// Two wrappers over two executors each would need four executors.
		exec = build(outer, mirror, exec, second.Execute)
	} else {
		outer = "nothing"
	}

	var list []core.Intent
	for n := range 1 + c.of(6) {
		opts := [][]core.Option{
			nil, {core.ID("same")}, {core.ID(strconv.Itoa(n))}, {core.Priority(9)}, {core.Queue("other")}, {core.Unique("k")},
		}[c.of(6)]
		list = append(list, intent(t, n, opts...))
	}
	err := exec(context.Background(), list...)
	out := outcomes(t, err, list)
	if stopErr := mirror.Stop(context.Background()); stopErr != nil {
		t.Error(stopErr)
	}

	for n, o := range out {
		said := everywhere(n, first, second)
		if problem := judge(o, said); problem != "" {
			t.Errorf("%s around %s, intent %d: %s\nreported %v\nsaid %v", outer, inner, n, problem, o.State, statesOf(said))
		}
		for _, e := range []*erratic{first, second} {
			for k, s := range e.said[n] {
				if k+1 < len(e.said[n]) && settledState(s.State) {
					t.Errorf("%s around %s, intent %d: sent to %s again after %v", outer, inner, n, e.name, s.State)
				}
			}
		}
	}
	for _, e := range []*erratic{first, second} {
		for _, call := range e.calls {
			if len(call) == 0 || !slices.IsSorted(call) || len(slices.Compact(slices.Clone(call))) != len(call) {
				t.Errorf("%s around %s: %s was sent %v, want them once and in order", outer, inner, e.name, call)
			}
		}
	}
}

// one reports whether it is a wrapper over one executor.
func one(wrapper string) bool {
	return !slices.Contains([]string{"WithPriority", "Route", "WithFallback", "Split"}, wrapper)
}

func build(wrapper string, mirror *compose.Mirror, first, second core.Executor) core.Executor {
	switch wrapper {
	case "WithRetry":
		return compose.WithRetry(first, compose.Retry{Backoff: core.Fixed(1)})
	case "WithTimeout":
		return compose.WithTimeout(first, time.Hour)
	case "WithLog":
		return compose.WithLog(first, quiet)
	case "WithHeaders":
		return compose.WithHeaders(first, func(context.Context) map[string]string { return map[string]string{"K": "v"} })
	case "Strip":
		return compose.Strip(first, core.OptionPriority)
	case "WithPriority":
		return compose.WithPriority(first, second, 0)
	case "Route":
		return compose.Route(compose.ByQueue, map[string]core.Executor{"other": second}, first)
	case "WithFallback":
		return compose.WithFallback(first, second)
	case "Split":
		return compose.NewSplit(first, compose.Share{Percent: 50, To: second}).Execute
	}
	return mirror.Wrap(first)
}

// judge says what is untrue in an outcome, given everything that executors said of
// the intent, in any order.
func judge(o core.Outcome, said []core.Outcome) string {
	counts := map[core.State]int{}
	for _, s := range said {
		counts[s.State]++
	}
	acknowledged := counts[core.Accepted] + counts[core.Duplicate]
	switch {
	case len(said) == 0 && o.State != core.NotSent && o.State != core.Rejected:
		return "it was never sent"
	case o.State == core.Accepted && acknowledged == 0:
		return "nobody accepted it"
	case o.State == core.Accepted && counts[core.Accepted] == 0 && counts[core.Unknown] == 0:
		return "the only job of it is another producer's"
	case counts[core.Accepted] > 0 && o.State != core.Accepted:
		return "somebody accepted it"
	case o.State != core.Unknown && counts[core.Unknown] > 0 && acknowledged == 0:
		return "it may be stored"
	case len(said) > 0 && o.State != core.Accepted && counts[o.State] == 0:
		return "nobody said so"
	case o.State == core.Unknown && (errors.Is(o.Err, core.ErrNotSent) || errors.Is(o.Err, core.ErrTooLarge)):
		return "errors.Is finds a state that it is not in"
	}
	return ""
}

func statesOf(out []core.Outcome) (list []core.State) {
	for _, o := range out {
		list = append(list, o.State)
	}
	return list
}

func settledState(s core.State) bool { return s == core.Accepted || s == core.Duplicate }
