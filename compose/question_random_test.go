package compose_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
)

// tree is a random executor: wrappers around each other, over executors with
// random capabilities.
type tree struct {
	t      testing.TB
	r      *rand.Rand
	mirror *compose.Mirror
	asked  []*asked
	text   string
	more   bool // it refuses what capabilities cannot express: routes and headers
}

func (tr *tree) add(format string, args ...any) { tr.text += fmt.Sprintf(format, args...) }

func (tr *tree) one(of ...core.OptionName) core.OptionName { return of[tr.r.IntN(len(of))] }

// build returns an executor with depth wrappers around each other.
func (tr *tree) build(depth int) core.Executor {
	if depth == 0 {
		return tr.leaf()
	}
	name := wrapperNames[tr.r.IntN(len(wrapperNames))]
	tr.add("%s(", name)
	defer func() { tr.add(")") }()
	first := tr.build(depth - 1)
	second := func() core.Executor { tr.add(", "); return tr.build(depth - 1) }
	switch name {
	case "WithHeaders":
		kind := tr.r.IntN(5)
		tr.more = tr.more || kind > 1
		return compose.WithHeaders(first, func(context.Context) map[string]string {
			switch kind {
			case 0, 1:
				return nil
			case 2:
				return map[string]string{"Airlock-Id": "reserved"}
			}
			return map[string]string{"K": "v"}
		})
	case "Strip":
		return compose.Strip(first, tr.one(core.PortableOptions()...), tr.one(core.OptionDelay, core.OptionNative))
	case "Route":
		routes := map[string]core.Executor{"other": second()}
		if first == nil || tr.r.IntN(3) == 0 {
			tr.more = true
			return compose.Route(compose.ByQueue, routes, nil)
		}
		return compose.Route(compose.ByQueue, routes, first)
	case "WithPriority", "WithFallback", "Split":
		return build(name, tr.mirror, first, second())
	}
	return build(name, tr.mirror, first, nil)
}

func (tr *tree) leaf() core.Executor {
	switch tr.r.IntN(20) {
	case 0:
		tr.add("plain")
		return accept
	case 1:
		tr.add("invalid")
		return adapter.Invalid(fmt.Errorf("no client: %w", core.ErrInvalid))
	case 2:
		tr.add("nil")
		return nil
	}
	caps := core.Capabilities{Executor: string(rune('a' + tr.r.IntN(3))), Options: map[core.OptionName]core.Claim{}}
	for _, name := range append(core.PortableOptions(), core.OptionNative) {
		claim := core.Claim{Support: core.SupportNative}
		switch tr.r.IntN(4) {
		case 0:
			claim = core.Claim{Reason: "not here"}
		case 1:
			claim = core.Claim{Support: core.SupportEmulated, Most: 3, Longest: time.Hour}
		}
		caps.Options[name] = claim
	}
	if tr.r.IntN(3) == 0 {
		caps.MaxPayload = 3
	}
	if tr.r.IntN(3) == 0 {
		reason := []error{core.ErrTooLarge, core.ErrInvalid, errOption, errBackend}[tr.r.IntN(4)]
		caps.Refuse = func(in core.Intent) error {
			if in.Has(core.OptionUnique) && in.Has(core.OptionPriority) {
				return reason
			}
			return nil
		}
	}
	a := newAsked(caps)
	tr.asked = append(tr.asked, a)
	tr.add("%s%d", caps.Executor, len(tr.asked))
	return a.Execute
}

// intent returns an intent with random options.
func (tr *tree) intent() core.Intent {
	all := []core.Option{
		core.Queue("other"), core.Priority(1 + tr.r.IntN(10)), core.Delay(time.Duration(1+tr.r.IntN(90)) * time.Minute),
		core.MaxAttempts(1 + tr.r.IntN(5)), core.Backoff(core.Fixed(time.Second)), core.Timeout(time.Minute),
		core.Deadline(time.Now().Add(10 * time.Hour)), core.ID(fmt.Sprint("id-", tr.r.Uint32())),
		core.Unique(fmt.Sprint("key-", tr.r.Uint32())), core.Header("H", "v"), core.NativeOption("a", 1),
	}
	var opts []core.Option
	for _, opt := range all {
		if tr.r.IntN(8) == 0 {
			opts = append(opts, opt)
		}
	}
	return intent(tr.t, []int{7, 1234}[tr.r.IntN(8)/7], opts...)
}

// counts returns the questions, calls and accepted intents of all executors since
// the last time.
func (tr *tree) counts() (questions, calls []int, sent int) {
	for _, a := range tr.asked {
		q, c, s := a.reset()
		questions, calls, sent = append(questions, q), append(calls, c), sent+s
	}
	return questions, calls, sent
}

func TestCheckAnswersWhatADispatchIsRefusedWith(t *testing.T) {
	t.Parallel()
	synctest.Test(t, checkAgainstDispatch) // so that no limit on a time is passed between the two
}

func checkAgainstDispatch(t *testing.T) {
	mirror := newMirror(t, accept, nil)
	defer stop(t, mirror)
	refused, taken := 0, 0
	for seed := range 6000 {
		tr := &tree{t: t, r: rand.New(rand.NewPCG(uint64(seed), 2)), mirror: mirror}
		exec := tr.build(1 + seed%3)
		if exec == nil {
			continue
		}
		var list []core.Intent
		for range 1 + tr.r.IntN(4) {
			list = append(list, tr.intent())
		}
		if tr.compare(exec, list) {
			taken++
		} else {
			refused++
		}
		tr.capabilities(exec, list[0])
		if t.Failed() {
			t.Fatalf("seed %d: %s\n%v", seed, tr.text, optionsOf(list))
		}
	}
	if min(refused, taken) < 1000 {
		t.Errorf("%d calls were refused and %d taken: the test sees too little of one of them", refused, taken)
	}
}

// compare asks, dispatches, and compares the answers. It reports whether the call
// was taken.
func (tr *tree) compare(exec core.Executor, list []core.Intent) bool {
	tr.counts()
	answer := exec.Check(tr.t.Context(), list...)
	questions, calls, _ := tr.counts()
	for i := range questions {
		if questions[i] > 1 || calls[i] > 0 {
			tr.t.Errorf("Check asked executor %d %d times and called it %d times", i+1, questions[i], calls[i])
		}
	}
	err := exec(tr.t.Context(), list...)
	again, dispatched, sent := tr.counts()
	if answer == nil {
		if err != nil {
			tr.t.Errorf("Check answered nil, the dispatch was refused: %v", err)
		}
		for i := range dispatched {
			if len(list) == 1 && min(dispatched[i]+again[i], 1) != questions[i] {
				tr.t.Errorf("Check asked executor %d %d times, the dispatch called or asked it %d times", i+1, questions[i], dispatched[i]+again[i])
			}
		}
		return true
	}
	if err == nil {
		tr.t.Errorf("Check answered %v, the dispatch was taken", answer)
		return false
	}
	want := core.OutcomesOf(answer, list)
	for i, got := range outcomes(tr.t, err, list) {
		if want[i].State == core.Unknown { // a reason without a sentinel
			want[i].State = core.Rejected
		}
		if got.State != want[i].State || got.Err.Error() != want[i].Err.Error() {
			tr.t.Errorf("intent %d: Check answered %v, %v; the dispatch %v, %v", i, want[i].State, want[i].Err, got.State, got.Err)
		}
	}
	if sent > 0 {
		tr.t.Errorf("%d intents of a refused call were sent", sent)
	}
	return false
}

// capabilities checks that what they take is taken.
func (tr *tree) capabilities(exec core.Executor, in core.Intent) {
	caps, ok := exec.Capabilities()
	questions, calls, _ := tr.counts()
	for i := range questions {
		if questions[i] > 1 || calls[i] > 0 {
			tr.t.Errorf("Capabilities asked executor %d %d times and called it %d times", i+1, questions[i], calls[i])
		}
	}
	if !ok || tr.more || caps.Check(in) != nil {
		return
	}
	if err := exec.Check(tr.t.Context(), in); err != nil {
		tr.t.Errorf("the capabilities take what Check refuses: %v", err)
	}
}

func optionsOf(list []core.Intent) (text []string) {
	for _, in := range list {
		var names []core.OptionName
		for _, name := range append(core.PortableOptions(), core.OptionNative) {
			if in.Has(name) {
				names = append(names, name)
			}
		}
		text = append(text, fmt.Sprint(names, " ", string(in.Payload())))
	}
	return text
}
