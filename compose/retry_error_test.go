package compose_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
)

func TestErrorAfterAThousandAttemptsIsShort(t *testing.T) {
	t.Parallel()
	for name, levels := range map[string][]int{"one retry": {1000}, "retries around retries": {10, 10, 10}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, n := errors.New("connection reset"), 0
			exec := core.Executor(func(context.Context, ...core.Intent) error {
				if n++; n == 1 {
					return first
				}
				return fmt.Errorf("attempt %d: %w", n, core.ErrUnavailable)
			})
			for _, attempts := range levels {
				exec = compose.WithRetry(exec, compose.Retry{Attempts: attempts, Backoff: core.Fixed(1)})
			}
			err := exec(t.Context(), intents(t, 1)...)
			wantErrorIs(t, err, first)
			wantErrorIs(t, err, core.ErrUnknownOutcome)
			wantErrorIsNot(t, err, core.ErrNotSent)
			const want = ": unknown: connection reset; last attempt: attempt 1000: backend unavailable"
			if text := err.Error(); !strings.HasSuffix(text, want) {
				t.Errorf("%d bytes, %.300q, want it to end in %q", len(text), text, want)
			}
			depth := 0
			for e := err.(*core.DispatchError).Outcomes[0].Err; e != nil; e = errors.Unwrap(e) {
				depth++
			}
			if depth != 2 { // the first answer, and what adds the last one to it
				t.Errorf("%d errors wrap each other, want 2", depth)
			}
		})
	}
}

func TestOneCauseIsShownOnce(t *testing.T) {
	t.Parallel()
	s := scripted(fails(errors.New("connection refused")), fails(fmt.Errorf("%w", refusedConnection{})))
	err := compose.WithRetry(s.Execute, compose.Retry{Attempts: 2, Backoff: core.Fixed(1)})(t.Context(), intents(t, 1)...)
	if n := strings.Count(err.Error(), "connection refused"); n != 1 {
		t.Errorf("the cause is shown %d times: %v", n, err)
	}
}

// refusedConnection is NotSent and does not say so in its text.
type refusedConnection struct{}

func (refusedConnection) Error() string { return "connection refused" }
func (refusedConnection) Unwrap() error { return core.ErrNotSent }

func TestRetryReportsBothErrorsOfWhatStaysUnknown(t *testing.T) {
	t.Parallel()
	refused := &core.OptionError{Option: core.OptionDelay, Executor: "second"}
	s := scripted(fails(errBackend), fails(refused))
	err := compose.WithRetry(s.Execute, quick)(t.Context(), intents(t, 1)...)
	wantErrorIs(t, err, errBackend)
	wantErrorIsNot(t, err, core.ErrUnsupported)
	var option *core.OptionError
	if !errors.As(err, &option) || option != refused {
		t.Errorf("the later error is not found: %v", err)
	}
	const want = ": unknown: backend says no; last attempt: second refuses option delay"
	if !strings.HasSuffix(err.Error(), want) {
		t.Errorf("text %q, want it to end in %q", err, want)
	}
}

// The error of an Outcome may be left out.
func TestRetryOfOutcomesWithoutErrors(t *testing.T) {
	t.Parallel()
	bare := func(s core.State) answer {
		return func(_ context.Context, in []core.Intent) error {
			return &core.DispatchError{Outcomes: []core.Outcome{{ID: in[0].ID, State: s}}}
		}
	}
	two := compose.Retry{Attempts: 2, Backoff: core.Fixed(1)}
	for name, tt := range map[string]struct {
		first, second answer
		text          string
	}{
		"neither": {bare(core.Unknown), bare(core.NotSent), ": unknown"},
		"second":  {bare(core.Unknown), fails(core.ErrTooLarge), ": unknown: last attempt: too large"},
		"first":   {fails(errBackend), bare(core.NotSent), ": unknown: backend says no"},
	} {
		err := compose.WithRetry(scripted(tt.first, tt.second).Execute, two)(t.Context(), intents(t, 1)...)
		wantErrorIs(t, err, core.ErrUnknownOutcome)
		if err == nil || !strings.HasSuffix(err.Error(), tt.text) {
			t.Errorf("%s: %q, want it to end in %q", name, err, tt.text)
		}
	}

	ctx, cancel := context.WithCancel(t.Context())
	ended := func(ctx context.Context, in []core.Intent) error { cancel(); return bare(core.Unknown)(ctx, in) }
	err := compose.WithRetry(scripted(ended).Execute, two)(ctx, intents(t, 1)...)
	wantErrorIs(t, err, context.Canceled)
}
