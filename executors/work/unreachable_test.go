package workexec_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/core"
	workexec "github.com/goairlock/airlock/executors/work"
)

func TestARedisThatIsAwayIsLoggedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		rdb := &redis.Pool{Dial: func() (redis.Conn, error) {
			return redis.DialURL("redis://:SECRET@host:port/0") // net/url quotes all of it
		}}
		w, err := workexec.NewWorker(rdb, registry(t), &workexec.WorkerOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := w.Run(ctx); err != nil {
			t.Error(err)
		}
		if lines := strings.Count(log.String(), "\n"); lines != 1 || strings.Contains(log.String(), "SECRET") || !strings.Contains(log.String(), "backend lost") {
			t.Errorf("%d lines in an hour:\n%s", lines, log.String())
		}
	})
}

func TestNoCredentialIsInAnError(t *testing.T) {
	t.Parallel()
	rdb := &redis.Pool{DialContext: func(ctx context.Context) (redis.Conn, error) {
		return redis.DialURLContext(ctx, "redis://:SECRET@host:port/0")
	}}
	exec, err := workexec.New(rdb, nil)
	if err != nil {
		t.Fatal(err)
	}
	in := intent(t)
	err = exec.Execute(t.Context(), in, in)
	texts := []string{fmt.Sprint(err), fmt.Sprintf("%+v", err), fmt.Sprint(exec.CheckServer(t.Context()))}
	for _, o := range core.OutcomesOf(err, []core.Intent{in, in}) {
		for e := o.Err; e != nil; e = errors.Unwrap(e) {
			texts = append(texts, e.Error())
		}
		if o.State != core.NotSent {
			t.Errorf("%v: %v", o.State, o.Err)
		}
	}
	var ue *url.Error
	if !errors.As(err, &ue) {
		t.Errorf("the cause is not to be found: %v", err)
	}
	for _, text := range texts {
		if strings.Contains(text, "SECRET") {
			t.Errorf("%s", text)
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
