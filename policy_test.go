package airlock_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/core"
)

// named records that it was asked, and allows everything.
func named(name string, mu *sync.Mutex, asked *[]string) airlock.Policy {
	add := func(when string) {
		mu.Lock()
		defer mu.Unlock()
		*asked = append(*asked, when+" "+name)
	}
	return airlock.Policy{
		Name:      name,
		OnEnqueue: func(context.Context, core.Intent) error { add("enqueue"); return nil },
		Allows:    func(context.Context, core.Intent) bool { add("flush"); return true },
	}
}

func TestPoliciesAreAskedInnermostFirst(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var asked []string
	p := func(name string) airlock.Policy { return named(name, &mu, &asked) }
	var s sink
	ctx := airlock.WithPolicy(t.Context(), p("outermost region"))
	nest(t, ctx, s.Execute, func(ctx context.Context) {
		ctx = airlock.WithPolicy(ctx, p("region"))
		nest(t, ctx, nil, func(ctx context.Context) {
			enqueue(t, airlock.WithPolicy(ctx, p("inner region")), "a")
		}, p("inner scope"))
	}, p("scope 1"), p("scope 2"))
	order := []string{"inner region", "inner scope", "region", "scope 1", "scope 2", "outermost region"}
	var want []string
	for _, when := range []string{"enqueue ", "flush "} {
		for _, name := range order {
			want = append(want, when+name)
		}
	}
	if !slices.Equal(asked, want) {
		t.Errorf("asked\n %s\nwant\n %s", strings.Join(asked, "\n "), strings.Join(want, "\n "))
	}
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	other := core.DeclareTask[string]("test.other")
	for _, tc := range []struct {
		name    string
		policy  airlock.Policy
		refused error // at the call site
		want    string
	}{
		{"AllowAll", airlock.AllowAll(), nil, "a x b"},
		{"DropAll", airlock.DropAll(), nil, ""},
		{"AssertNoEffects", airlock.AssertNoEffects(), airlock.ErrRefused, ""},
		{"BlockTasks", airlock.BlockTasks("test.other"), nil, "a b"},
		{"All of nothing", airlock.All(), nil, "a x b"},
		{"All", airlock.All(airlock.AllowAll(), airlock.BlockTasks("test.other"), airlock.BlockTasks("test.note")), nil, ""},
		{"All with a refusal", airlock.All(airlock.DropAll(), airlock.AssertNoEffects()), airlock.ErrRefused, ""},
		{"Require what nobody needs", airlock.Require(core.Capabilities{}), nil, "a x b"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var s sink
			err := airlock.Run(t.Context(), s.Execute, func(ctx context.Context) error {
				return errors.Join(
					airlock.Enqueue(ctx, note, "a"), airlock.Enqueue(ctx, other, "x"), airlock.Enqueue(ctx, note, "b"))
			}, tc.policy)
			if !errors.Is(err, tc.refused) {
				t.Errorf("Run = %v, want %v", err, tc.refused)
			}
			wantGot(t, &s, tc.want)
		})
	}
}

func TestARefusedIntentIsNotBuffered(t *testing.T) {
	t.Parallel()
	var s sink
	nest(t, t.Context(), s.Execute, func(ctx context.Context) {
		err := airlock.Enqueue(ctx, note, "a", core.Priority(3))
		var oe *core.OptionError
		if !errors.As(err, &oe) || oe.Option != core.OptionPriority {
			t.Errorf("Enqueue = %v, want the executor's refusal", err)
		}
		if !strings.Contains(err.Error(), "test.note") {
			t.Errorf("the error does not name the task: %v", err)
		}
		enqueue(t, ctx, "b")

		good, err := note.Intent("c")
		if err != nil {
			t.Fatal(err)
		}
		bad, err := note.Intent("d", core.Timeout(time.Second))
		if err != nil {
			t.Fatal(err)
		}
		wantIs(t, airlock.Add(ctx, good, bad), core.ErrUnsupported)
	}, airlock.Require(core.Capabilities{Executor: "none"}))
	wantGot(t, &s, "b")
}

func TestLogOnFlushShowsNoPayload(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	var s sink
	logger := slog.New(slog.NewTextHandler(&buf, nil))
	nest(t, t.Context(), s.Execute, func(ctx context.Context) {
		if err := airlock.Enqueue(ctx, note, "secret", core.Queue("mail"), core.Header("Token", "secret")); err != nil {
			t.Error(err)
		}
	}, airlock.LogOnFlush(logger))
	text := buf.String()
	if strings.Contains(text, "secret") || !strings.Contains(text, "test.note") || !strings.Contains(text, "mail") {
		t.Errorf("logged %s", text)
	}
	wantGot(t, &s, "secret")
}

func TestAPolicyCannotEnqueue(t *testing.T) {
	t.Parallel()
	for name, try := range map[string]func(ctx context.Context, exec core.Executor) error{
		"in the same scope": func(ctx context.Context, _ core.Executor) error {
			return airlock.Enqueue(ctx, note, "from the policy")
		},
		"in a scope of its own": func(ctx context.Context, exec core.Executor) error {
			return airlock.Run(ctx, exec, func(ctx context.Context) error {
				return airlock.Enqueue(ctx, note, "from the policy")
			})
		},
		"in a region of its own": func(ctx context.Context, _ core.Executor) error {
			return airlock.Enqueue(airlock.WithPolicy(ctx, airlock.BlockTasks("test.other")), note, "from the policy")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var s sink
			var tried []error
			bad := airlock.Policy{
				OnEnqueue: func(ctx context.Context, _ core.Intent) error {
					tried = append(tried, try(ctx, s.Execute))
					return nil
				},
				Allows: func(ctx context.Context, _ core.Intent) bool {
					tried = append(tried, try(ctx, s.Execute))
					return true
				},
			}
			nest(t, t.Context(), s.Execute, func(ctx context.Context) { enqueue(t, ctx, "a") }, bad)
			if len(tried) != 2 {
				t.Fatalf("the policy was asked %d times, want twice", len(tried))
			}
			wantIs(t, tried[0], airlock.ErrPolicyEnqueue)
			wantIs(t, tried[1], airlock.ErrPolicyEnqueue)
			wantGot(t, &s, "a")
		})
	}
}

// It is a mistake, and it must not end the process.
func TestAPolicyThatEnqueuesThroughACapturedContextIsStopped(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(ctx context.Context, exec core.Executor){
		"twice in the same scope": func(ctx context.Context, _ core.Executor) {
			airlock.Enqueue(ctx, note, "from the policy") // it fails
			airlock.Enqueue(ctx, note, "from the policy") // it fails
		},
		"in a scope of its own": func(ctx context.Context, exec core.Executor) {
			airlock.Run(ctx, exec, func(ctx context.Context) error { // it fails
				return airlock.Enqueue(ctx, note, "from the policy")
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var s sink
			var captured context.Context
			bad := airlock.Policy{OnEnqueue: func(context.Context, core.Intent) error {
				call(captured, s.Execute)
				return nil
			}}
			err := airlock.Run(t.Context(), s.Execute, func(ctx context.Context) error {
				captured = ctx
				wantIs(t, airlock.Enqueue(ctx, note, "a"), airlock.ErrPolicyEnqueue)
				wantIs(t, airlock.Enqueue(ctx, note, "b"), airlock.ErrPolicyEnqueue)
				return nil
			}, bad)
			if err != nil {
				t.Error(err)
			}
			wantGot(t, &s, "")
		})
	}
}

func TestAPolicyPrintsItsName(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		policy airlock.Policy
		want   string
	}{
		{airlock.DropAll(), "DropAll"},
		{airlock.BlockTasks("a.b", "c.d"), "BlockTasks(a.b, c.d)"},
		{airlock.Require(core.Capabilities{Executor: "asynq"}), "Require(asynq)"},
		{airlock.All(airlock.DropAll(), airlock.AssertNoEffects()), "All(DropAll, AssertNoEffects)"},
		{airlock.Policy{}, "without a name"},
	} {
		for _, verb := range []string{"%v", "%+v", "%s"} {
			if got := fmt.Sprintf(verb, tc.policy); got != tc.want {
				t.Errorf("%s prints %q, want %q", verb, got, tc.want)
			}
		}
	}
}

func TestARefusalNamesThePolicyAndHasOnePrefix(t *testing.T) {
	t.Parallel()
	var s sink
	small := airlock.Require(core.Capabilities{Executor: "small"})
	for want, p := range map[string]airlock.Policy{
		"airlock: policy Require(small) refuses task test.note: small refuses option priority":                               small,
		"airlock: policy All(DropAll, Require(small)) refuses task test.note: Require(small): small refuses option priority": airlock.All(airlock.DropAll(), small),
	} {
		err := airlock.Run(t.Context(), s.Execute, func(ctx context.Context) error {
			return airlock.Enqueue(ctx, note, "a", core.Priority(9))
		}, p)
		if got := fmt.Sprint(err); got != want {
			t.Errorf("error\n %s\nwant\n %s", got, want)
		}
	}
}

// Two goroutines that enqueue at the same time are not a policy that does.
func TestJudgingAtTheSameTimeIsNotEnqueueingFromAPolicy(t *testing.T) {
	t.Parallel()
	var both sync.WaitGroup
	both.Add(2)
	meet := airlock.Policy{OnEnqueue: func(context.Context, core.Intent) error {
		both.Done()
		both.Wait()
		return nil
	}}
	var s sink
	nest(t, t.Context(), s.Execute, func(ctx context.Context) {
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() { enqueue(t, ctx, "a") })
		}
		wg.Wait()
	}, meet)
	wantGot(t, &s, "a a")
}

func TestAPolicyThatPanicsLetsNothingThrough(t *testing.T) {
	t.Parallel()
	t.Run("at the call site", func(t *testing.T) {
		t.Parallel()
		var s sink
		bad := airlock.Policy{Name: "bad", OnEnqueue: func(context.Context, core.Intent) error { panic("oops") }}
		err := runWordsExpectingRefusal(t, &s, bad)
		var p *core.PanicError
		if !errors.As(err, &p) || !strings.Contains(err.Error(), "bad") {
			t.Errorf("Enqueue = %v", err)
		}
		wantGot(t, &s, "")
	})
	t.Run("at the flush", func(t *testing.T) {
		t.Parallel()
		var s sink
		bad := airlock.Policy{Allows: func(_ context.Context, in core.Intent) bool {
			if strings.Contains(string(in.Payload()), "b") {
				panic("oops")
			}
			return true
		}}
		fe := flushError(t, runWords(t, t.Context(), s.Execute, "a b c", bad))
		if got := payloads(fe.Undelivered); got != "a b c" {
			t.Errorf("undelivered %q", got)
		}
		wantGot(t, &s, "")
	})
}

func runWordsExpectingRefusal(t *testing.T, s *sink, p airlock.Policy) error {
	t.Helper()
	return airlock.Run(t.Context(), s.Execute, func(ctx context.Context) error {
		return airlock.Enqueue(ctx, note, "a")
	}, p)
}
