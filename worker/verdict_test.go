package worker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

func TestVerdicts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		backoff := core.Exponential(time.Second, 10*time.Second)
		for name, c := range map[string]struct {
			err   error
			d     worker.Delivery
			want  worker.Action
			after time.Duration
			is    error
		}{
			"done":           {nil, work(nil), worker.Done, 0, nil},
			"retry":          {io.EOF, work(nil), worker.Retry, 0, io.EOF},
			"backoff":        {io.EOF, work(func(d *worker.Delivery) { d.Backoff, d.Attempt = backoff, 3 }), worker.Retry, 4 * time.Second, io.EOF},
			"attempt 0":      {io.EOF, work(func(d *worker.Delivery) { d.Backoff, d.Attempt = backoff, 0 }), worker.Retry, time.Second, io.EOF},
			"attempts left":  {io.EOF, work(func(d *worker.Delivery) { d.MaxAttempts, d.Attempt = 3, 2 }), worker.Retry, 0, io.EOF},
			"last attempt":   {io.EOF, work(func(d *worker.Delivery) { d.MaxAttempts, d.Attempt = 3, 3 }), worker.Dead, 0, io.EOF},
			"beyond it":      {io.EOF, work(func(d *worker.Delivery) { d.MaxAttempts, d.Attempt = 3, 9 }), worker.Dead, 0, io.EOF},
			"permanent":      {worker.Permanent(io.EOF), work(nil), worker.Dead, 0, io.EOF},
			"wrapped":        {fmt.Errorf("a: %w", worker.Permanent(fmt.Errorf("b: %w", worker.Permanent(io.EOF)))), work(nil), worker.Dead, 0, io.EOF},
			"joined":         {errors.Join(io.ErrClosedPipe, worker.Permanent(io.EOF)), work(nil), worker.Dead, 0, io.EOF},
			"snooze":         {worker.Snooze(time.Minute), work(func(d *worker.Delivery) { d.MaxAttempts = 1 }), worker.Snoozed, time.Minute, nil},
			"wrapped snooze": {fmt.Errorf("busy: %w", worker.Snooze(time.Minute)), work(nil), worker.Snoozed, time.Minute, nil},
			"snooze 0":       {worker.Snooze(0), work(nil), worker.Retry, 0, core.ErrInvalid},
			"snooze -1":      {worker.Snooze(-1), work(func(d *worker.Delivery) { d.MaxAttempts = 1 }), worker.Dead, 0, core.ErrInvalid},
			"snooze longest": {worker.Snooze(century), work(nil), worker.Snoozed, century, nil},
			"snooze longer":  {worker.Snooze(century + 1), work(nil), worker.Retry, 0, core.ErrInvalid},
			"no more snooze": {worker.Permanent(worker.Snooze(time.Minute)), work(nil), worker.Dead, 0, nil},
			"snooze in time": {worker.Snooze(time.Minute), work(func(d *worker.Delivery) { d.Deadline = now.Add(time.Minute + 1) }), worker.Snoozed, time.Minute, nil},
			"snooze past":    {worker.Snooze(time.Minute), work(func(d *worker.Delivery) { d.Deadline = now.Add(time.Minute) }), worker.Dead, 0, context.DeadlineExceeded},
			"retry in time":  {io.EOF, work(func(d *worker.Delivery) { d.Backoff, d.Deadline = backoff, now.Add(time.Second+1) }), worker.Retry, time.Second, io.EOF},
			"retry past":     {io.EOF, work(func(d *worker.Delivery) { d.Backoff, d.Deadline = backoff, now.Add(time.Second) }), worker.Dead, 0, io.EOF},
			"past at last":   {io.EOF, work(func(d *worker.Delivery) { d.Backoff, d.Deadline = backoff, now.Add(time.Second) }), worker.Dead, 0, context.DeadlineExceeded},
			"typed nil":      {(*hostile)(nil), work(nil), worker.Retry, 0, nil},
			"no text":        {silent{}, work(nil), worker.Retry, 0, silent{}},
			"nil permanent":  {worker.Permanent(nil), work(nil), worker.Done, 0, nil},
		} {
			for _, own := range []bool{false, true} {
				c.d.OwnGoroutine = own
				v := handler(t, func(context.Context) error { return c.err }).Perform(t.Context(), c.d)
				if v.Action != c.want || v.After != c.after || (v.Err == nil) != (c.want == worker.Done) || c.is != nil && !errors.Is(v.Err, c.is) {
					t.Errorf("%s: got %v, want %v after %v", name, v, c.want, c.after)
				}
			}
		}
		v := handler(t, func(context.Context) error { return worker.Snooze(0) }).Perform(t.Context(), work(nil))
		wantInvalid(t, v.Err, "test.work", "snooze")
	})
	if !worker.IsPermanent(fmt.Errorf("a: %w", worker.Permanent(io.EOF))) || worker.IsPermanent(io.EOF) || worker.IsPermanent(nil) {
		t.Error("IsPermanent")
	}
	if got := fmt.Sprint(worker.Done, worker.Retry, worker.Dead, worker.Snoozed, worker.Parked, worker.Interrupted, worker.Action(9)); got != "done retry dead snoozed parked interrupted Action(9)" {
		t.Error(got)
	}
	if got := fmt.Sprint(worker.Permanent(io.EOF), worker.Snooze(time.Second)); got != "EOF airlock: snooze for 1s" {
		t.Error(got)
	}
}

func TestIsSnoozeReturnsTheDuration(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		want time.Duration
		ok   bool
	}{
		"nil": {nil, 0, false}, "another": {io.EOF, 0, false}, "snooze": {worker.Snooze(time.Minute), time.Minute, true},
		"wrapped": {fmt.Errorf("busy: %w", worker.Snooze(time.Hour)), time.Hour, true}, "permanent": {worker.Permanent(worker.Snooze(1)), 1, true},
		"out of range": {worker.Snooze(-1), -1, true},
	} {
		if got, ok := worker.IsSnooze(c.err); got != c.want || ok != c.ok {
			t.Errorf("%s: got %v, %v", name, got, ok)
		}
	}
}

func TestMalformedIsDead(t *testing.T) {
	t.Parallel()
	v := handler(t, func(context.Context) error { return fmt.Errorf("deep: %w", core.ErrMalformed) }).Perform(t.Context(), work(nil))
	if v.Action != worker.Dead || !errors.Is(v.Err, core.ErrMalformed) || worker.IsPermanent(v.Err) {
		t.Errorf("got %v", v)
	}
}
