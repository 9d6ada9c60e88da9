package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// watch shows the numbers again and again. On a terminal it redraws the screen, and q
// ends it. Elsewhere it prints one table after the other.
func watch(ctx context.Context, c *call) error {
	screen, ok := c.out.(*os.File)
	if !ok || !term.IsTerminal(int(screen.Fd())) {
		return c.repeat(ctx, func(frame []byte) { _, _ = c.out.Write(append(frame, '\n')) })
	}
	const enter, leave = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l" // another screen, no cursor
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if keys := int(os.Stdin.Fd()); term.IsTerminal(keys) {
		before, err := term.MakeRaw(keys)
		if err != nil {
			return err
		}
		defer term.Restore(keys, before) //nolint:errcheck // nothing is left to do
		go untilKey(cancel)              // ends with the process: a read of a terminal cannot be interrupted
	}
	fmt.Fprint(screen, enter)
	defer fmt.Fprint(screen, leave)
	return c.repeat(ctx, func(frame []byte) {
		width, height, err := term.GetSize(int(screen.Fd()))
		if err != nil || width <= 0 || height <= 0 { // some terminals do not know
			width, height = 80, 24
		}
		fmt.Fprint(screen, "\x1b[H"+fit(string(frame), width, height)+"\x1b[J")
	})
}

// untilKey calls cancel at q or Ctrl-C.
func untilKey(cancel func()) {
	key := make([]byte, 1)
	for {
		if n, err := os.Stdin.Read(key); err != nil || n == 1 && (key[0] == 'q' || key[0] == 3) {
			cancel()
			return
		}
	}
}

// fit cuts lines to the screen, and ends each as a raw terminal wants it.
func fit(text string, width, height int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	var b strings.Builder
	for i, line := range lines {
		if i == height-1 {
			break
		}
		b.WriteString(cut(line, max(width, 2)) + "\x1b[K\r\n")
	}
	return b.String()
}

// repeat makes a frame every while, until ctx ends. An error is part of the frame, so
// that a queue that comes back is seen.
func (c *call) repeat(ctx context.Context, draw func(frame []byte)) error {
	ticker := time.NewTicker(c.every)
	defer ticker.Stop()
	for {
		var frame bytes.Buffer
		fmt.Fprintf(&frame, "%s  %s  every %v, q ends\n\n", clean(c.place), time.Now().Format(time.TimeOnly), c.every)
		depths, err := c.depths(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && exitCode(err) != exitFailed:
			return err
		case err != nil:
			fmt.Fprintln(&frame, clean(textOf(err)))
		default:
			depthTable(depths).write(&frame)
		}
		draw(frame.Bytes())
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
