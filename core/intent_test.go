package core_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goairlock/airlock/core"
)

func TestLaterChangesToArgumentsDoNotReachTheIntent(t *testing.T) {
	t.Parallel()
	type args struct {
		List []string
		Map  map[string]int
		Ptr  *int
	}
	n := 1
	a := args{[]string{"a"}, map[string]int{"a": 1}, &n}
	in := must(core.DeclareTask[*args]("intent.args").Intent(&a))(t)
	before := string(in.Payload())
	a.List[0], a.Map["a"], n = "b", 2, 2
	a.List = append(a.List, "c")
	if got := string(in.Payload()); got != before || got != `{"List":["a"],"Map":{"a":1},"Ptr":1}` {
		t.Errorf("got %s", got)
	}
}

func TestWithAndWithoutDoNotChangeTheirIntent(t *testing.T) {
	t.Parallel()
	opts := []core.Option{
		core.Queue("q"), core.Priority(1), core.Delay(time.Hour), core.MaxAttempts(2), core.Backoff(core.Fixed(1)), core.Timeout(1),
		core.Deadline(time.Now().Add(2 * time.Hour)), core.ID("id"), core.Unique("u"), core.Header("A", "1"), core.NativeOption("x", 1),
	}
	in := must(core.DeclareTask[int]("intent.with").Intent(7, opts...))(t)
	look := func(in core.Intent) any {
		return [...]any{in.ID, in.Task, in.Options, in.ChosenID(), string(in.Payload()), maps.Collect(in.Headers().All())["A"], in.Headers().Len(), len(in.Native("x"))}
	}
	before := look(in)
	one := must(in.With(core.Header("B", "1"), core.Header("A", "2"), core.NativeOption("x", 2), core.Priority(3), core.ID("other")))(t)
	two := must(in.With(core.Header("C", "2"), core.NativeOption("x", 3)))(t)
	three := must(one.With(core.NativeOption("x", 4)))(t)
	four := must(one.With(core.NativeOption("x", 5)))(t)
	if look(in) != before {
		t.Errorf("With changed its intent to %v", look(in))
	}
	for i, c := range []struct {
		in      core.Intent
		headers map[string]string
		native  []any
		id      string
	}{
		{one, map[string]string{"A": "2", "B": "1"}, []any{1, 2}, "other"},
		{two, map[string]string{"A": "1", "C": "2"}, []any{1, 3}, "id"},
		{three, map[string]string{"A": "2", "B": "1"}, []any{1, 2, 4}, "other"},
		{four, map[string]string{"A": "2", "B": "1"}, []any{1, 2, 5}, "other"},
	} {
		if !maps.Equal(maps.Collect(c.in.Headers().All()), c.headers) || !slices.Equal(c.in.Native("x"), c.native) || c.in.ID != c.id || !c.in.ChosenID() || string(c.in.Payload()) != "7" {
			t.Errorf("%d: got %v %v %s", i, maps.Collect(c.in.Headers().All()), c.in.Native("x"), c.in.ID)
		}
	}
	if one.Options.Priority != 3 || one.Options.Queue != "q" || two.Options.Priority != 1 {
		t.Errorf("got %+v", one.Options)
	}

	all := append(core.PortableOptions(), core.OptionNative, "no such option")
	bare := in.Without(all...)
	for _, name := range all {
		if bare.Has(name) {
			t.Errorf("%s is still set", name)
		}
	}
	if bare.Options != (core.Options{}) || bare.ID != "id" || bare.ChosenID() || string(bare.Payload()) != "7" || bare.Validate() != nil {
		t.Errorf("got %v %+v", bare, bare.Options)
	}
	if look(in) != before {
		t.Errorf("Without changed its intent to %v", look(in))
	}
	values := in.Native("x")
	values[0] = "changed"
	if in.Native("x")[0] != 1 {
		t.Error("Native returns the slice of the intent")
	}
	if again := must(bare.With())(t); again.ID != "id" || again.ChosenID() {
		t.Errorf("got %v", again)
	}
}

func TestDefaultsOfATaskAreSharedAndNotChanged(t *testing.T) {
	t.Parallel()
	task := core.DeclareTask[int]("intent.shared", core.Header("A", "1"), core.NativeOption("x", 1), core.NativeOption("x", 2))
	ins := make(chan core.Intent, 8)
	for i := range cap(ins) {
		go func() {
			in, err := task.Intent(i, core.Header("A", "2"), core.Header("B", "3"), core.NativeOption("x", i))
			if err != nil {
				t.Error(err)
			}
			ins <- in
		}()
	}
	for range cap(ins) {
		in := <-ins
		if got := in.Native("x"); len(got) != 3 || string(in.Payload()) != string(rune('0'+got[2].(int))) {
			t.Errorf("%s got %v", in.Payload(), got)
		}
	}
	in := must(task.Intent(1))(t)
	if got := maps.Collect(in.Headers().All()); !maps.Equal(got, map[string]string{"A": "1"}) || len(in.Native("x")) != 2 {
		t.Errorf("got %v", got)
	}
}

func TestZeroValuesAreInvalidAndHarmless(t *testing.T) {
	t.Parallel()
	var in core.Intent
	if in.Payload() != nil || in.Headers().Len() != 0 || in.Native("x") != nil || in.String() == "" || !in.ChosenID() || in.Func() != nil {
		t.Errorf("got %v", in)
	}
	wantInvalid(t, in.Validate(), "zero Intent")
	wantInvalid(t, in.Run(t.Context()), "zero Intent")
	wantInvalid(t, intents(t, 1)[0].Run(noCtx), "nil context")
	in.Without(core.OptionHeader, core.OptionNative).DeriveID("p", 1)

	var task core.Task[int]
	for name, task := range map[string]core.Task[int]{"zero": task, "with codec": task.Codec(core.JSON)} {
		_, err := task.Intent(1)
		wantInvalid(t, err, "zero Task")
		wantInvalid(t, task.Validate(), "zero Task")
		_, err = task.Decode([]byte("1"))
		wantInvalid(t, err, "zero Task")
		if task.Name() != "" {
			t.Errorf("%s: got %q", name, task.Name())
		}
	}
}

func TestBadDeclarationsSurfaceWhereTheyAreUsed(t *testing.T) {
	t.Parallel()
	work := func(context.Context, int) error { return nil }
	for name, task := range map[string]core.Task[int]{
		"bad name":       core.DeclareTask[int]("bad name"),
		"empty":          core.DeclareTask[int](""),
		"priority":       core.DeclareTask[int]("task.priority", core.Priority(0), core.Queue("BAD")),
		"option id":      core.DeclareTask[int]("task.id", core.ID("x")),
		"nil codec":      core.DeclareTask[int]("task.codec").Codec(nil),
		"new: bad name":  core.NewTask("new: bad name", work),
		"new.nil":        core.NewTask[int]("new.nil", nil),
		"new.codec":      core.NewTask("new.codec", work).Codec(nil),
		"new.priority":   core.NewTask("new.priority", work, core.Priority(0)),
		"first: bad bad": core.DeclareTask[int]("first: bad bad").Codec(nil),
	} {
		_, err := task.Intent(1)
		wantInvalid(t, err, name)
		wantInvalid(t, task.Validate(), name)
		_, err = task.Decode([]byte("1"))
		wantInvalid(t, err, name)
	}
	if err := core.NewTask("task.good", work).Codec(core.JSON).Validate(); err != nil {
		t.Error(err)
	}
}

func TestRunCallsTheFunctionOfNewTask(t *testing.T) {
	t.Parallel()
	type key struct{}
	calls, got := 0, 0
	var seen any
	var ended <-chan struct{}
	task := core.NewTask("intent.run", func(ctx context.Context, n int) error {
		calls, got, seen, ended = calls+1, n, ctx.Value(key{}), ctx.Done()
		if n < 0 {
			return io.EOF
		}
		return nil
	})
	ctx, cancel := context.WithCancelCause(context.WithValue(t.Context(), key{}, 1))
	// No option has an effect: not the time, not the deadline.
	in := must(task.Intent(7, core.Queue("mail"), core.MaxAttempts(3), core.Delay(time.Hour), core.Timeout(1), core.Header("A", "1")))(t)
	if err := in.Run(ctx); err != nil || got != 7 || calls != 1 {
		t.Fatalf("got %d after %d calls, %v", got, calls, err)
	}
	if seen != nil {
		t.Error("the function sees a value of its producer")
	}
	bad := must(task.Intent(-1))(t)
	if err := bad.Run(ctx); !errors.Is(err, io.EOF) || states(core.OutcomesOf(err, []core.Intent{bad})) != "failed" {
		t.Errorf("got %v", err)
	}
	select {
	case <-ended:
		t.Error("the function's context has ended")
	default:
	}
	cancel(io.ErrClosedPipe)
	<-ended
	calls = 0
	if err := in.Run(ctx); !errors.Is(err, context.Canceled) || !errors.Is(err, io.ErrClosedPipe) || states(core.OutcomesOf(err, []core.Intent{in})) != "not sent" || calls != 0 {
		t.Errorf("got %v after %d calls", err, calls)
	}
	declared := must(core.DeclareTask[int]("intent.run").Intent(1))(t)
	if err := declared.Run(t.Context()); !errors.Is(err, core.ErrNoHandler) || states(core.OutcomesOf(err, []core.Intent{declared})) != "rejected" {
		t.Errorf("got %v", err)
	}
}

func TestRunRecoversPanics(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]any{"error": io.EOF, "text": "boom", "nil": nil, "typed nil": (*hostile)(nil)} {
		in := must(core.NewTask("intent.panic", func(context.Context, int) error { panic(value) }).Intent(1))(t)
		err := in.Run(t.Context())
		var p *core.PanicError
		if !errors.As(err, &p) || !strings.Contains(string(p.Stack), "intent_test.go") || states(core.OutcomesOf(err, []core.Intent{in})) != "failed" {
			t.Errorf("%s: got %v", name, err)
		}
		if name == "error" && !errors.Is(err, io.EOF) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	in := must(core.NewTask("intent.hostile", func(context.Context, int) error { return (*hostile)(nil) }).Intent(1))(t)
	if err := in.Run(t.Context()); errors.Is(err, io.EOF) || err == nil {
		t.Errorf("got %v", err)
	}
}

func TestRunFailsWithBadArguments(t *testing.T) {
	t.Parallel()
	task := core.NewTask("intent.args", func(context.Context, explosive) error { t.Error("called"); return nil })
	in := must(task.Intent(explosive{}))(t)
	err := in.Run(t.Context())
	if !errors.Is(err, core.ErrInvalid) || states(core.OutcomesOf(err, []core.Intent{in})) != "failed" {
		t.Errorf("got %v", err)
	}
}

func TestFuncBelongsToItsTask(t *testing.T) {
	t.Parallel()
	got := ""
	fn := func(_ context.Context, s string) error { got = s; return io.EOF }
	task := core.NewTask("intent.func", fn, core.Queue("mail"), core.Delay(time.Hour), core.Header("A", "1"))
	in := must(task.Intent("x"))(t)
	if err := in.Func()(t.Context()); err != io.EOF || got != "x" {
		t.Errorf("got %q, %v", got, err)
	}
	with := must(in.With(core.Queue("other")))(t)
	if with.Func() == nil || in.Without(core.OptionHeader).DeriveID("p", 1).Func() == nil {
		t.Error("the function is lost")
	}
	in.Task = "intent.other"
	if in.Func() != nil {
		t.Error("a function of another task")
	}
	if err := task.Func()(t.Context(), "y"); err != io.EOF || got != "y" {
		t.Errorf("got %q, %v", got, err)
	}
	if core.DeclareTask[string]("intent.func").Func() != nil || must(core.DeclareTask[string]("intent.func").Intent("x"))(t).Func() != nil {
		t.Error("a function from nowhere")
	}
	if d := task.Defaults(); d != (core.Options{Queue: "mail"}) {
		t.Errorf("got %+v", d)
	}
}

func TestDecodeMarksMalformedPayloads(t *testing.T) {
	t.Parallel()
	task := core.DeclareTask[map[string]int]("intent.decode")
	if got, err := task.Decode([]byte(`{"a":7}`)); got["a"] != 7 || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
	for payload, malformed := range map[string]bool{
		"": true, " ": true, "{": true, `{"a":1} 2`: true, "{\"\xff\":1}": true, canary: true, strings.Repeat("[", 20000): true,
		`{"a":"` + canary + `"}`: false, `[1]`: false, `{"a":1.5}`: false, `{"a":1e400}`: false,
	} {
		_, err := task.Decode([]byte(payload))
		wantInvalid(t, err, "intent.decode")
		if errors.Is(err, core.ErrMalformed) != malformed {
			t.Errorf("%.20q: malformed is %v, want %v: %v", payload, !malformed, malformed, err)
		}
	}
	// The error of a type's own Unmarshaler is about a value.
	for _, err := range []error{second(core.DeclareTask[failing]("intent.decode").Decode([]byte("{}"))), second(core.DeclareTask[panicky]("intent.decode").Decode([]byte("{}")))} {
		if !errors.Is(err, core.ErrInvalid) || errors.Is(err, core.ErrMalformed) {
			t.Errorf("got %v", err)
		}
	}
	// A custom codec may wrap it.
	own := core.DeclareTask[string]("intent.decode").Codec(shout{core.ErrMalformed})
	if _, err := own.Decode([]byte("x")); !errors.Is(err, core.ErrMalformed) || !errors.Is(err, core.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}
