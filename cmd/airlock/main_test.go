package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/inspect"
)

func TestWrongUseHasTheExitCode2AndShowsNoPassword(t *testing.T) {
	t.Setenv("AIRLOCK_QUEUE", "")
	for _, args := range [][]string{
		{},
		{"stat"},
		{"stats"},
		{"stats", "-queue", "asynq+redis://127.0.0.1:1", "more"},
		{"stats", "-queue", "redis://user:s3cr3t@127.0.0.1:1"},
		{"stats", "-queue", "user:s3cr3t@127.0.0.1:1"},
		{"stats", "-queue", "asynq+redis://user:s3cr3t@127.0.0.1:port"},
		{"stats", "-queue", "asynq+redis://user:s3cr3t%zz@127.0.0.1:1"},
		{"stats", "-queue", "asynq+redis://user:s3cr3t@127.0.0.1:1/notanumber"},
		{"stats", "-queue", "asynq+redis://user:pass@127.0.0.1:1?password=s3cr3t&odd=1"},
		{"stats", "-queue", "work+redis://127.0.0.1:1?odd=s3cr3t"},
		{"stats", "-queue", "nats://user:s3cr3t@127.0.0.1:1"},
		{"stats", "-queue", "amqp://user:s3cr3t@127.0.0.1:1?classic=maybe"},
		{"stats", "-queue", "postgres://user:s3cr3t@127.0.0.1:1/db?sslmode=odd"},
		{"stats", "-queue", "mysql://user:s3cr3t@127.0.0.1:1/db"},
		{"stats", "-odd", "-queue", "asynq+redis://127.0.0.1:1"},
		{"stats", "-watch", "-json", "-queue", "asynq+redis://127.0.0.1:1"},
		{"stats", "-watch", "-every", "0s", "-queue", "asynq+redis://127.0.0.1:1"},
		{"list", "-state", "odd", "-queue", "asynq+redis://127.0.0.1:1"},
		{"dead", "-limit", "-1", "-queue", "asynq+redis://127.0.0.1:1"},
		{"show", "-queue", "asynq+redis://127.0.0.1:1", "id"},
		{"show", "-queue", "asynq+redis://127.0.0.1:1", "-name", "mail"},
		{"retry", "-queue", "asynq+redis://127.0.0.1:1", "-name", "mail"},
		{"retry", "-queue", "asynq+redis://127.0.0.1:1", "-name", "mail", "-all", "id"},
		{"retry", "-queue", "asynq+redis://127.0.0.1:1", "-name", "mail", "-task", "t", "id"},
		{"discard", "-queue", "asynq+redis://127.0.0.1:1", "-name", "mail"},
		{"pause", "-queue", "asynq+redis://127.0.0.1:1"},
		{"serve", "-queue", "asynq+redis://127.0.0.1:1", "-addr", "8088"},
		{"serve", "-queue", "asynq+redis://127.0.0.1:1", "-addr", ":8088"},
		{"serve", "-queue", "asynq+redis://127.0.0.1:1", "-addr", "0.0.0.0:8088"},
	} {
		var out, errOut bytes.Buffer
		if code := run(t.Context(), args, &out, &errOut); code != exitUsage {
			t.Errorf("%q: exit code %d, %s", args, code, &errOut)
		}
		if text := out.String() + errOut.String(); strings.Contains(text, "s3cr3t") || strings.TrimSpace(errOut.String()) == "" {
			t.Errorf("%q prints %q", args, text)
		}
	}
}

func TestAQueueThatIsAwayHasTheExitCode1AndShowsNoPassword(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"asynq+redis://user:s3cr3t@127.0.0.1:1/0", "asynq+redis-cluster://user:s3cr3t@127.0.0.1:1", "work+redis://user:s3cr3t@127.0.0.1:1",
		"postgres://user:s3cr3t@127.0.0.1:1/db", "nats://user:s3cr3t@127.0.0.1:1?stream=JOBS", "amqp://user:s3cr3t@127.0.0.1:1/vhost",
	} {
		var out, errOut bytes.Buffer
		if code := run(t.Context(), []string{"stats", "-queue", url, "-name", "mail"}, &out, &errOut); code != exitFailed {
			t.Errorf("%s: exit code %d, %s", url, code, &errOut)
		}
		if text := out.String() + errOut.String(); strings.Contains(text, "s3cr3t") || !strings.HasPrefix(text, "airlock: ") {
			t.Errorf("%s prints %q", url, text)
		}
	}
}

func TestTheExitCodeSaysWhatHappened(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		err  error
		want int
	}{
		{nil, 0}, {errors.New("odd"), 1}, {core.ErrUnavailable, 1}, {errUsage, 2}, {core.ErrInvalid, 2}, {inspect.ErrNotFound, 3},
		{inspect.ErrRunning, 4}, {inspect.ErrDone, 4}, {inspect.ErrUnreadable, 4}, {core.ErrDuplicate, 4}, {&inspect.UnsupportedError{}, 4},
	} {
		if got := exitCode(fmt.Errorf("x: %w", tc.err)); tc.err != nil && got != tc.want {
			t.Errorf("%v: exit code %d, want %d", tc.err, got, tc.want)
		}
	}
	if exitCode(nil) != 0 {
		t.Error("no error is not 0")
	}
}

func TestATerminalShowsNoControlCharacters(t *testing.T) {
	t.Parallel()
	tab := table{head: []string{"A", "B"}}
	tab.add("x\x1b[2Jy\nz", "\u202eb\u009b")
	var b bytes.Buffer
	tab.write(&b)
	if got := b.String(); got != "A         B\nx·[2Jy z  ·b·\n" || strings.ContainsAny(got, "\x1b\u202e\u009b") || strings.Count(got, "\n") != 2 {
		t.Errorf("%q", got)
	}
}

func TestWatchDrawsUntilItsContextEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f := &fake{}
	frames := 0
	c := &call{view: f, place: "nats://host", every: time.Millisecond}
	err := c.repeat(ctx, func(frame []byte) {
		switch frames++; frames {
		case 1:
			if !strings.Contains(string(frame), "mail") {
				t.Errorf("the first frame is %s", frame)
			}
			f.err = fmt.Errorf("airlock: x: %w", core.ErrUnavailable)
		case 2: // it goes on during an outage
			if !strings.Contains(string(frame), core.ErrUnavailable.Error()) {
				t.Errorf("the second frame is %s", frame)
			}
			f.err = nil
		case 3:
			cancel()
		}
	})
	if err != nil || frames != 3 {
		t.Errorf("%v after %d frames", err, frames)
	}
	if got := fit("abcdef\nxyz\nmore\n", 4, 3); got != "abc…\x1b[K\r\nxyz\x1b[K\r\n" {
		t.Errorf("a screen of 4 by 3 is %q", got)
	}
}
