package compose_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
)

func newMirror(t *testing.T, second core.Executor, opts *compose.MirrorOptions) *compose.Mirror {
	t.Helper()
	quietly := compose.MirrorOptions{}
	if opts != nil {
		quietly = *opts
	}
	if quietly.Logger == nil {
		quietly.Logger = quiet
	}
	m, err := compose.NewMirror(second, &quietly)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func stop(t *testing.T, m *compose.Mirror) {
	t.Helper()
	if err := m.Stop(context.Background()); err != nil {
		t.Error(err)
	}
}

func wantStats(t *testing.T, m *compose.Mirror, want compose.MirrorStats) {
	t.Helper()
	if got := m.Stats(); got != want {
		t.Errorf("stats %+v, want %+v", got, want)
	}
}

func TestMirrorCopiesOnlyWhatTheFirstAccepted(t *testing.T) {
	t.Parallel()
	second := scripted()
	m := newMirror(t, second.Execute, nil)
	list := intents(t, 6)
	first := states(core.Accepted, core.Duplicate, core.Rejected, core.NotSent, core.Unknown, core.Accepted)
	err := m.Wrap(scripted(first).Execute)(t.Context(), list...)
	wantStates(t, err, list, core.Accepted, core.Duplicate, core.Rejected, core.NotSent, core.Unknown, core.Accepted)
	stop(t, m)
	wantSent(t, "the second", second, []int{0, 5})
	wantStats(t, m, compose.MirrorStats{Copied: 2})
}

func TestMirrorNeitherFailsNorSlowsTheFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		m := newMirror(t, func(context.Context, ...core.Intent) error { <-release; return errBackend },
			&compose.MirrorOptions{Buffer: 3})
		exec, begun := m.Wrap(accept), time.Now()
		for range 5 {
			if err := exec(t.Context(), intents(t, 2)...); err != nil {
				t.Error(err)
			}
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("the first was kept waiting for %v", took)
		}
		wantStats(t, m, compose.MirrorStats{Dropped: 7})
		close(release)
		stop(t, m)
		wantStats(t, m, compose.MirrorStats{Dropped: 7, Failed: 3})
	})
}

func TestMirrorHasRoomAgainOnceCopiesAreSent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMirror(t, accept, &compose.MirrorOptions{Buffer: 2})
		exec := m.Wrap(accept)
		for range 5 {
			if err := exec(t.Context(), intents(t, 2)...); err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}
		stop(t, m)
		wantStats(t, m, compose.MirrorStats{Copied: 10})
	})
}

func TestMirrorKeepsTheOrder(t *testing.T) {
	t.Parallel()
	second := scripted()
	m := newMirror(t, second.Execute, nil)
	exec := m.Wrap(accept)
	var want []int
	for n := range 500 {
		if err := exec(t.Context(), intent(t, n)); err != nil {
			t.Fatal(err)
		}
		want = append(want, n)
	}
	stop(t, m)
	if got := slices.Concat(second.sent()...); !slices.Equal(got, want) {
		t.Errorf("copied in the order %v", got)
	}
}

func TestMirrorGivesTheSecondNothingOfTheProducersContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMirror(t, func(ctx context.Context, _ ...core.Intent) error {
			if ctx.Value(traceKey{}) != nil || ctx.Err() != nil {
				t.Error("the producer's context reached the second executor")
			}
			if end, ok := ctx.Deadline(); !ok || time.Until(end) != time.Minute {
				t.Errorf("the call ends at %v, want in a minute", end)
			}
			return nil
		}, &compose.MirrorOptions{Timeout: time.Minute})
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), traceKey{}, "t"))
		first := func(context.Context, ...core.Intent) error { cancel(); return nil }
		if err := m.Wrap(first)(ctx, intents(t, 1)...); err != nil {
			t.Error(err)
		}
		stop(t, m)
		wantStats(t, m, compose.MirrorStats{Copied: 1})
	})
}

func TestMirrorCopiesTheOthersOfARefusedCall(t *testing.T) {
	t.Parallel()
	second := scripted()
	var got []error
	m := newMirror(t, adapter.Guard(core.Capabilities{Executor: "bare"}, second.Execute),
		&compose.MirrorOptions{OnError: func(err error) { got = append(got, err) }})
	list := []core.Intent{intent(t, 0), intent(t, 1, core.Delay(time.Hour)), intent(t, 2)}
	if err := m.Wrap(accept)(t.Context(), list...); err != nil {
		t.Error(err)
	}
	stop(t, m)
	wantSent(t, "the second", second, []int{0, 2})
	wantStats(t, m, compose.MirrorStats{Copied: 2, Failed: 1})
	if len(got) != 1 {
		t.Fatalf("got %v, want one error", got)
	}
	wantStates(t, got[0], list, core.Accepted, core.Rejected, core.Accepted)
	wantErrorIs(t, got[0], core.ErrUnsupported)
}

func TestMirrorGoesOnAfterPanicAndGoexitOfTheSecond(t *testing.T) {
	t.Parallel()
	got := make(chan error, 2)
	second := scripted(panics("second"), func(context.Context, []core.Intent) error { runtime.Goexit(); return nil })
	m := newMirror(t, second.Execute, &compose.MirrorOptions{OnError: func(err error) { got <- err }})
	exec := m.Wrap(accept)
	for range 2 {
		if err := exec(t.Context(), intents(t, 1)...); err != nil {
			t.Error(err)
		}
		wantErrorIs(t, <-got, core.ErrUnknownOutcome)
	}
	if err := exec(t.Context(), intents(t, 1)...); err != nil {
		t.Error(err)
	}
	stop(t, m)
	wantStats(t, m, compose.MirrorStats{Copied: 1, Failed: 2})
}

func TestStoppedMirrorDropsAndTheFirstGoesOn(t *testing.T) {
	t.Parallel()
	m := newMirror(t, accept, nil)
	stop(t, m)
	if err := m.Wrap(accept)(t.Context(), intents(t, 2)...); err != nil {
		t.Error(err)
	}
	wantStats(t, m, compose.MirrorStats{Dropped: 2})
	stop(t, m)
}

func TestStopThatGivesUpDropsWhatWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMirror(t, func(ctx context.Context, _ ...core.Intent) error { <-ctx.Done(); return ctx.Err() },
			&compose.MirrorOptions{Timeout: time.Hour})
		exec := m.Wrap(accept)
		if err := exec(t.Context(), intents(t, 250)...); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		wantErrorIs(t, m.Stop(ctx), context.DeadlineExceeded)
		if took := time.Since(begun); took != time.Second {
			t.Errorf("Stop took %v, want a second", took)
		}
		stop(t, m)
		wantStats(t, m, compose.MirrorStats{Failed: 100, Dropped: 150})
	})
}

func TestMirrorLogsLostCopiesAtMostOnceASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := new(buffer)
		m := newMirror(t, func(context.Context, ...core.Intent) error {
			time.Sleep(100 * time.Millisecond)
			return errBackend
		}, &compose.MirrorOptions{Buffer: 1, Logger: slog.New(slog.NewTextHandler(b, nil))})
		exec := m.Wrap(accept)
		for range 25 { // one copy fails every 100 ms, and one is dropped
			if err := exec(t.Context(), intents(t, 2)...); err != nil {
				t.Error(err)
			}
			time.Sleep(101 * time.Millisecond)
		}
		time.Sleep(time.Second) // the copies have ended, and the last losses are logged all the same
		synctest.Wait()
		lines := strings.Split(strings.TrimSpace(b.String()), "\n")
		if len(lines) != 4 {
			t.Errorf("%d records in 3.5 seconds, want 4:\n%s", len(lines), b)
		}
		var failed, dropped uint64
		for _, line := range lines {
			var f, d uint64
			_, counts, _ := strings.Cut(line, "failed=")
			if _, err := fmt.Sscanf(counts, "%d dropped=%d", &f, &d); err != nil {
				t.Errorf("%v: %s", err, line)
			}
			failed, dropped = failed+f, dropped+d
			if !strings.Contains(line, `level=WARN msg="airlock: mirror: copies lost"`) || f > 0 != strings.Contains(line, errBackend.Error()) {
				t.Errorf("logged %s", line)
			}
		}
		wantStats(t, m, compose.MirrorStats{Failed: 25, Dropped: 25})
		if failed != 25 || dropped != 25 {
			t.Errorf("logged %d failed and %d dropped copies, want 25 each", failed, dropped)
		}
		stop(t, m)
	})
}

func TestMirrorLogsWhatStopDrops(t *testing.T) {
	logged := captureDefaultLog(t)
	started := make(chan struct{})
	m, err := compose.NewMirror(func(ctx context.Context, _ ...core.Intent) error {
		close(started)
		<-ctx.Done()
		return nil
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Wrap(accept)(t.Context(), intents(t, 150)...); err != nil {
		t.Error(err)
	}
	<-started
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantErrorIs(t, m.Stop(ctx), context.Canceled)
	stop(t, m)
	if !strings.Contains(logged.String(), "failed=0 dropped=50") {
		t.Errorf("logged %q, want 50 dropped copies", logged)
	}
}

func TestPanicOfTheMirrorsLoggerIsContained(t *testing.T) {
	b := captureDefaultLog(t)
	m := newMirror(t, scripted(fails(errBackend)).Execute, &compose.MirrorOptions{Logger: slog.New(panicking{slog.NewTextHandler(b, nil)})})
	exec := m.Wrap(accept)
	if err := exec(t.Context(), intents(t, 1)...); err != nil {
		t.Error(err)
	}
	stop(t, m)
	wantStats(t, m, compose.MirrorStats{Failed: 1})
	if !strings.Contains(b.String(), "Mirror's logger panicked") {
		t.Errorf("the panic is not logged: %q", b)
	}
}

func TestNewMirrorReturnsWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]*compose.MirrorOptions{
		"buffer": {Buffer: -1}, "timeout": {Timeout: -1},
	} {
		if m, err := compose.NewMirror(accept, opts); m != nil || !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v, %v", name, m, err)
		}
	}
	if m, err := compose.NewMirror(nil, nil); m != nil || !errors.Is(err, core.ErrInvalid) {
		t.Errorf("nil executor: %v, %v", m, err)
	}
	var none *compose.Mirror
	var zero compose.Mirror
	var ctx context.Context
	wantErrorIs(t, none.Stop(t.Context()), core.ErrInvalid)
	wantErrorIs(t, zero.Stop(t.Context()), core.ErrInvalid)
	m := newMirror(t, accept, nil)
	wantErrorIs(t, m.Stop(ctx), core.ErrInvalid)
	stop(t, m)
	if none.Stats() != zero.Stats() {
		t.Error("a Mirror that was never made has counted")
	}
}
