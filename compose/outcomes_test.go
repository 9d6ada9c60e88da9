package compose_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
)

var update = flag.Bool("update", false, "write docs/outcomes.md anew")

const outcomesDoc = "../docs/outcomes.md"

// TestOutcomesDocument writes down what the wrappers do with each outcome, as
// experiments show it, and fails when docs/outcomes.md says anything else.
func TestOutcomesDocument(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString(outcomesIntro)
	b.WriteString("\n## One intent\n\n" + oneIntentText)
	oneIntent(t, &b)
	b.WriteString("\n## A call that was refused as a whole\n\n" + refusedText)
	refusedCall(t, &b)
	b.WriteString("\n## An intent that is sent again\n\n" + sentAgainText)
	sentAgain(t, &b)
	b.WriteString("\n## The part after another part\n\n" + partsText)
	partAfter(t, &b)

	if *update {
		if err := os.WriteFile(outcomesDoc, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(outcomesDoc)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != b.String() {
		t.Errorf("%s is not what the wrappers do; run: go test ./compose -run TestOutcomesDocument -update", outcomesDoc)
	}
}

const (
	outcomesIntro = `# What the wrappers do with each outcome

Generated from experiments by ` + "`go test ./compose -run TestOutcomesDocument -update`" + `; do not edit.
The states are those of core.Outcome. The rules behind the tables stand on each wrapper's own documentation.
`
	oneIntentText = `The executor below, for WithFallback and Mirror the first of the two, answers every call for one intent as the
column says; the second executor accepts. A state alone means: reported so, and nothing else done.

`
	refusedText = `The executor below refuses one of three intents and reports the others as not sent, because of it. Each cell has the
refused intent, then the others.

`
	sentAgainText = `What WithRetry reports after two attempts: the row is the first answer, the column the second. A first answer without a
row is final.

`
	partsText = `Over several executors: what becomes of a part of the call when the part before it, sent to another executor, had this
outcome.

`
)

var wrapperNames = []string{
	"WithRetry", "WithTimeout", "WithLog", "WithHeaders", "Strip",
	"WithPriority", "Route", "WithFallback", "Split", "Mirror",
}

var errPermanent = core.Permanent(errBackend)

// always answers for every intent alike.
func always(s core.State, err error) answer {
	return func(_ context.Context, in []core.Intent) error {
		out := core.OutcomesOf(nil, in)
		for i := range out {
			out[i].State, out[i].Err = s, err
		}
		return core.Combine(out)
	}
}

var kinds = []struct {
	name string
	answer
}{
	{"accepted", always(core.Accepted, nil)},
	{"duplicate", always(core.Duplicate, core.ErrDuplicate)},
	{"rejected: option", always(core.Rejected, errOption)},
	{"rejected: other", always(core.Rejected, core.ErrTooLarge)},
	{"not sent", always(core.NotSent, core.ErrUnavailable)},
	{"unknown", always(core.Unknown, errBackend)},
	{"plain error", fails(errBackend)},
	{"panic", panics("x")},
	{"failed", always(core.Failed, errBackend)},
	{"failed: permanent", always(core.Failed, errPermanent)},
}

// experiment sends the intents through the named wrapper, over an executor that
// always answers the same and a second one that accepts.
func experiment(t *testing.T, wrapper string, a answer, list []core.Intent) (out []core.Outcome, first, second *script, level string) {
	t.Helper()
	first, second = scripted(a, a, a, a, a), scripted()
	var err error
	switch wrapper {
	case "Mirror":
		m := newMirror(t, second.Execute, nil)
		err = m.Wrap(first.Execute)(t.Context(), list...)
		stop(t, m)
	case "WithLog":
		b := new(buffer)
		log := slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
		err = compose.WithLog(first.Execute, log)(t.Context(), list...)
		_, level, _ = strings.Cut(b.String(), "level=")
		level, _, _ = strings.Cut(level, " ")
	default:
		err = wrappers(t, first.Execute, second.Execute)[wrapper](t.Context(), list...)
	}
	return outcomes(t, err, list), first, second, level
}

// did says what the experiment did with the intents of these numbers.
func did(out []core.Outcome, first, second *script, level string, number int) string {
	times := func(s *script) (n int) {
		for _, c := range s.sent() {
			for _, k := range c {
				if k == number {
					n++
				}
			}
		}
		return n
	}
	text := out[number].State.String()
	switch {
	case times(second) > 0 && times(first) > 1:
		text = "sent again, then to the second"
	case times(first) > 1:
		text = "sent again"
	case times(second) > 0 && out[number].State == core.Accepted && !firstAccepted(first, number):
		text = "to the second"
	case times(second) > 0:
		text += ", copied"
	}
	if level != "" {
		text += ", logged as " + level
	}
	return text
}

// firstAccepted reports what the first executor said of an intent.
func firstAccepted(first *script, number int) (accepted bool) {
	defer func() {
		if recover() != nil {
			accepted = false
		}
	}()
	list := first.calls[0]
	return core.OutcomesOf(first.answers[0](context.Background(), list), list)[number].State == core.Accepted
}

func row(b *strings.Builder, cells ...string) { fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | ")) }

func head(b *strings.Builder, cells ...string) {
	row(b, cells...)
	b.WriteString(strings.Repeat("|---", len(cells)) + "|\n")
}

func oneIntent(t *testing.T, b *strings.Builder) {
	cells := []string{""}
	for _, k := range kinds {
		cells = append(cells, k.name)
	}
	head(b, cells...)
	for _, w := range wrapperNames {
		cells = []string{w}
		for _, k := range kinds {
			out, first, second, level := experiment(t, w, k.answer, intents(t, 1))
			cells = append(cells, did(out, first, second, level, 0))
		}
		row(b, cells...)
	}
}

func refusedCall(t *testing.T, b *strings.Builder) {
	// A leaf: it refuses only calls in which the refused intent is.
	leaf := func(reason error) answer {
		return func(_ context.Context, in []core.Intent) error {
			out := core.OutcomesOf(core.ErrNotSent, in)
			for i, n := range numbers(in) {
				if n == 1 {
					out[i].State, out[i].Err = core.Rejected, reason
					return core.Combine(out)
				}
			}
			return nil
		}
	}
	head(b, "", "refused for an option", "refused for another reason")
	for _, w := range wrapperNames {
		cells := []string{w}
		for _, reason := range []error{errOption, errTooLarge} {
			out, first, second, level := experiment(t, w, leaf(reason), intents(t, 3))
			refused, others := did(out, first, second, "", 1), did(out, first, second, level, 0)
			if o := did(out, first, second, level, 2); o != others {
				t.Errorf("%s: the others are %q and %q", w, others, o)
			}
			cells = append(cells, refused+"; "+others)
		}
		row(b, cells...)
	}
}

func sentAgain(t *testing.T, b *strings.Builder) {
	cells := []string{"first \\ second"}
	for _, k := range kinds {
		cells = append(cells, k.name)
	}
	head(b, cells...)
	for _, before := range kinds {
		cells := []string{before.name}
		for _, now := range kinds {
			s := scripted(before.answer, now.answer)
			list := intents(t, 1)
			err := compose.WithRetry(s.Execute, compose.Retry{Attempts: 2, Backoff: core.Fixed(1)})(t.Context(), list...)
			text := outcomes(t, err, list)[0].State.String()
			if len(s.sent()) == 2 {
				cells = append(cells, text)
			}
		}
		if len(cells) > 1 {
			row(b, cells...)
		}
	}
}

func partAfter(t *testing.T, b *strings.Builder) {
	list := []core.Intent{intent(t, 0, core.Queue("first")), intent(t, 1)}
	head(b, "the part before", "the part after")
	for _, k := range kinds {
		first, second := scripted(k.answer), scripted()
		exec := compose.Route(compose.ByQueue, map[string]core.Executor{"first": first.Execute}, second.Execute)
		err := exec(t.Context(), list...)
		text := "not sent"
		if len(second.sent()) > 0 {
			text = "sent"
		} else if !errors.Is(outcomes(t, err, list)[1].Err, core.ErrNotSent) {
			t.Errorf("%s: the part after was not sent, and is %v", k.name, err)
		}
		row(b, k.name, text)
	}
}
