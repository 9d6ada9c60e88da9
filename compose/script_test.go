package compose_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
)

var task = core.DeclareTask[int]("test.task")

// intent makes an intent whose payload is n, by which tests know it even if IDs
// are the same.
func intent(t testing.TB, n int, opts ...core.Option) core.Intent {
	t.Helper()
	in, err := task.Intent(n, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func intents(t testing.TB, n int) []core.Intent {
	t.Helper()
	list := make([]core.Intent, n)
	for i := range list {
		list[i] = intent(t, i)
	}
	return list
}

// numbers returns the payloads of intents that were made by intent.
func numbers(list []core.Intent) []int {
	got := make([]int, len(list))
	for i := range list {
		got[i], _ = strconv.Atoi(string(list[i].Payload()))
	}
	return got
}

type answer func(ctx context.Context, intents []core.Intent) error

// script is a plain function: an executor that cannot be asked. It answers its
// calls with its answers, one after the other, accepts everything after the last
// of them, and remembers what it was sent.
type script struct {
	answers []answer

	mu    sync.Mutex
	calls [][]core.Intent
	empty int // calls without intents
}

func scripted(answers ...answer) *script { return &script{answers: answers} }

func (s *script) Execute(ctx context.Context, list ...core.Intent) error {
	s.mu.Lock()
	if len(list) == 0 {
		s.empty++
		s.mu.Unlock()
		return nil
	}
	k := len(s.calls)
	s.calls = append(s.calls, slices.Clone(list))
	s.mu.Unlock()
	if k < len(s.answers) {
		return s.answers[k](ctx, list)
	}
	return nil
}

// sent returns the numbers of the intents of each call so far.
func (s *script) sent() [][]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	var got [][]int
	for _, c := range s.calls {
		got = append(got, numbers(c))
	}
	return got
}

var (
	errBackend  = errors.New("backend says no")
	errOption   = &core.OptionError{Option: core.OptionDelay, Executor: "script"}
	errTooLarge = core.ErrTooLarge
)

// states answers with one state per intent; an intent that is Rejected has an
// option that is not supported.
func states(list ...core.State) answer {
	return func(_ context.Context, intents []core.Intent) error {
		out := make([]core.Outcome, len(list))
		for i, s := range list {
			out[i] = core.Outcome{ID: intents[i].ID, State: s}
			switch s {
			case core.Accepted:
			case core.Rejected:
				out[i].Err = errOption
			default:
				out[i].Err = errBackend
			}
		}
		return core.Combine(out)
	}
}

// fails answers with a plain error.
func fails(err error) answer {
	return func(context.Context, []core.Intent) error { return err }
}

func panics(v any) answer {
	return func(context.Context, []core.Intent) error { panic(v) }
}

// outcomes checks the form of a wrapper's answer and returns its outcomes.
func outcomes(t testing.TB, err error, list []core.Intent) []core.Outcome {
	t.Helper()
	if err == nil {
		return core.OutcomesOf(nil, list)
	}
	de, ok := err.(*core.DispatchError)
	if !ok {
		t.Fatalf("answered with a %T, want a *core.DispatchError: %v", err, err)
	}
	if len(de.Outcomes) != len(list) {
		t.Fatalf("%d outcomes for %d intents", len(de.Outcomes), len(list))
	}
	for i, o := range de.Outcomes {
		if o.ID != list[i].ID || o.Task != list[i].Task || o.Queue != list[i].Options.Queue {
			t.Fatalf("outcome %d is of %s %s %s, want %v", i, o.Task, o.ID, o.Queue, list[i])
		}
		if (o.State == core.Accepted) != (o.Err == nil) {
			t.Errorf("outcome %d: %v with error %v", i, o.State, o.Err)
		}
	}
	return de.Outcomes
}

func wantStates(t testing.TB, err error, list []core.Intent, want ...core.State) {
	t.Helper()
	var got []core.State
	for _, o := range outcomes(t, err, list) {
		got = append(got, o.State)
	}
	if !slices.Equal(got, want) {
		t.Errorf("states %v, want %v (%v)", got, want, err)
	}
}

func wantSent(t testing.TB, who string, s *script, want ...[]int) {
	t.Helper()
	if got := s.sent(); !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("%s was sent %v, want %v", who, got, want)
	}
}

func wantErrorIs(t testing.TB, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("error is not %q: %v", target, err)
	}
}

func wantErrorIsNot(t testing.TB, err, target error) {
	t.Helper()
	if errors.Is(err, target) {
		t.Errorf("error is %q: %v", target, err)
	}
}

// wrappers has every wrapper, set up so that a plain intent goes to exec. If there
// is another executor, it is other.
func wrappers(t testing.TB, exec, other core.Executor) map[string]core.Executor {
	t.Helper()
	mirror, err := compose.NewMirror(other, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := mirror.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return map[string]core.Executor{
		"WithRetry":    compose.WithRetry(exec, compose.Retry{Backoff: core.Fixed(1)}),
		"WithTimeout":  compose.WithTimeout(exec, 1e15),
		"WithLog":      compose.WithLog(exec, quiet),
		"WithHeaders":  compose.WithHeaders(exec, noHeaders),
		"Strip":        compose.Strip(exec, core.OptionTimeout),
		"WithPriority": compose.WithPriority(exec, other, 0),
		"Route":        compose.Route(compose.ByQueue, map[string]core.Executor{"other": other}, exec),
		"WithFallback": compose.WithFallback(exec, other),
		"Split":        compose.NewSplit(exec, compose.Share{Percent: 0, To: other}).Execute,
		"Mirror":       mirror.Wrap(exec),
	}
}

func noHeaders(context.Context) map[string]string { return nil }
