package workexec_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/gocraft/work"
	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/core"
	workexec "github.com/goairlock/airlock/executors/work"
)

// nowhere is a pool for a Redis that is not there.
func nowhere() *redis.Pool {
	return &redis.Pool{Dial: func() (redis.Conn, error) { return redis.Dial("tcp", "127.0.0.1:1") }}
}

func setup(t *testing.T, opts *workexec.Options) *workexec.Executor {
	t.Helper()
	exec, err := workexec.New(nowhere(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return exec
}

var task = core.DeclareTask[string]("test.work")

func intent(t *testing.T, opts ...core.Option) core.Intent {
	t.Helper()
	in, err := task.Intent("a", opts...)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func registry(t *testing.T) *core.Registry {
	t.Helper()
	reg, err := core.NewRegistry(core.Handle(task, func(context.Context, string) error { return nil }))
	if err != nil {
		t.Fatal(err)
	}
	return reg
}

func pool() *work.WorkerPool { return work.NewWorkerPool(struct{}{}, 1, "work", nowhere()) }

func TestBadInputIsInvalid(t *testing.T) {
	t.Parallel()
	opts := func(o workexec.Options) func() error {
		return func() error { _, err := workexec.New(nowhere(), &o); return err }
	}
	register := func(p *work.WorkerPool, reg *core.Registry) func() error {
		return func() error { _, err := workexec.Register(p, reg, nil); return err }
	}
	taken := pool().Job("test.work", func(*work.Job) error { return nil })
	lane := pool().Job("test.work!low", func(*work.Job) error { return nil })
	var none context.Context
	worker, err := workexec.Register(pool(), registry(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]func() error{
		"nil pool":               func() error { _, err := workexec.New(nil, nil); return err },
		"a window of the past":   opts(workexec.Options{IDWindow: -1}),
		"an endless window":      opts(workexec.Options{IDWindow: 1<<63 - 1}),
		"a queue's namespace":    opts(workexec.Options{Namespace: "shop:queue:mail"}),
		"nil context":            func() error { return setup(t, nil).Execute(none, intent(t)) },
		"zero intent":            func() error { return setup(t, nil).Execute(t.Context(), core.Intent{}) },
		"register with nil pool": register(nil, registry(t)),
		"register without":       register(pool(), nil),
		"a task that is taken":   register(taken, registry(t)),
		"a lane that is taken": func() error {
			_, err := workexec.Register(lane, registry(t), &workexec.WorkerOptions{Lanes: true})
			return err
		},
		"registered twice":        func() error { _, err := workexec.Register(taken, registry(t), nil); return err },
		"stop with a nil context": func() error { return worker.Stop(none) },
		"payload of nil":          func() error { _, err := workexec.Payload(nil); return err },
		"payload of bad base64": func() error {
			_, err := workexec.Payload(&work.Job{Args: work.Q{"airlock_base64": "!"}})
			return err
		},
	} {
		if err := bad(); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := workexec.Register(lane, registry(t), nil); err != nil {
		t.Errorf("a lane that nobody wants: %v", err)
	}
	if err := setup(t, nil).Execute(t.Context()); err != nil {
		t.Errorf("no intents: %v", err)
	}
}

func TestCapabilitiesFollowTheOptions(t *testing.T) {
	t.Parallel()
	caps := setup(t, nil).Capabilities()
	if w := caps.IDWindow; w.Kind != core.FixedWindow || w.For != 5*time.Minute {
		t.Errorf("window %+v", w)
	}
	if w := setup(t, &workexec.Options{IDWindow: 1}).Capabilities().IDWindow; w.For != time.Millisecond {
		t.Errorf("window %+v", w)
	}
	if err := caps.Check(intent(t, core.Priority(1))); !errors.Is(err, core.ErrUnsupported) {
		t.Errorf("priority without lanes: %v", err)
	}
	lanes := setup(t, &workexec.Options{Lanes: true}).Capabilities()
	if lanes.Check(intent(t, core.Priority(1))) != nil || lanes.PriorityLevels != 3 || lanes.Ranking != core.Weighted {
		t.Errorf("lanes: %+v", lanes)
	}
	for _, option := range core.PortableOptions() {
		if claim := lanes.Options[option]; claim.Support == core.Refused {
			t.Errorf("%s is refused", option)
		}
	}
	if err := caps.Check(intent(t, core.NativeOption("work", 1))); !errors.Is(err, core.ErrUnsupported) {
		t.Errorf("a native option: %v", err)
	}
	damaged, err := core.DeclareTask[map[string]int]("test.plain").Intent(map[string]int{"id": 1<<53 + 1})
	if err != nil {
		t.Fatal(err)
	}
	plain := setup(t, &workexec.Options{PlainArgs: true}).Capabilities()
	if caps.Check(damaged) != nil || !errors.Is(plain.Check(damaged), core.ErrInvalid) {
		t.Errorf("2^53+1: %v, plain %v", caps.Check(damaged), plain.Check(damaged))
	}
}

func TestQueuesHaveNamespacesOfTheirOwn(t *testing.T) {
	t.Parallel()
	for _, tc := range [][3]string{
		{"shop", "", "shop"}, {"shop", "default", "shop"}, {"shop", "mail", "shop:queue:mail"},
		{"shop:", "jobs", "shop:queue:jobs"}, {"shop:", "", "shop:"}, {"", "mail", ":queue:mail"},
	} {
		if got := workexec.Namespace(tc[0], tc[1]); got != tc[2] {
			t.Errorf("Namespace(%q, %q) is %q, want %q", tc[0], tc[1], got, tc[2])
		}
	}
}

func TestWhatCannotBeReachedIsNotSent(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]*redis.Pool{
		"Dial": nowhere(),
		"DialContext": {DialContext: func(ctx context.Context) (redis.Conn, error) {
			return redis.DialContext(ctx, "tcp", "127.0.0.1:1")
		}},
	} {
		exec, err := workexec.New(p, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, ctx := range []context.Context{context.Background(), t.Context()} {
			err := exec.Execute(ctx, intent(t), intent(t))
			var op *net.OpError
			if !errors.Is(err, core.ErrUnavailable) || !errors.As(err, &op) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		if err := exec.Execute(t.Context(), intent(t)); !errors.Is(err, core.ErrClosed) || !errors.Is(err, core.ErrNotSent) {
			t.Errorf("%s, closed: %v", name, err)
		}
	}
}

func TestADialThatKnowsNoContextDoesNotHoldTheCall(t *testing.T) {
	t.Parallel()
	dialling, hang := make(chan struct{}), make(chan struct{})
	exec, err := workexec.New(&redis.Pool{Dial: func() (redis.Conn, error) {
		close(dialling)
		<-hang
		return nil, errors.New("too late")
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer close(hang)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-dialling; cancel() }()
	if err := exec.Execute(ctx, intent(t)); !errors.Is(err, context.Canceled) || !errors.Is(err, core.ErrNotSent) {
		t.Errorf("%v", err)
	}
}

func TestAPanicOfThePoolIsAnError(t *testing.T) {
	t.Parallel()
	exec, err := workexec.New(&redis.Pool{Dial: func() (redis.Conn, error) { panic("on purpose") }}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var pe *core.PanicError
	for _, ctx := range []context.Context{context.Background(), t.Context()} {
		if err := exec.Execute(ctx, intent(t)); !errors.As(err, &pe) {
			t.Errorf("%v", err)
		}
	}
}
