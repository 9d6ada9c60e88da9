package main

import (
	"context"
	"fmt"

	"github.com/goairlock/airlock/inspect"
)

func retry(ctx context.Context, c *call) error {
	if !c.all {
		return c.each(ctx, "retried", func(id string) error { return c.view.Retry(ctx, c.name, id) })
	}
	done, err := c.view.RetryAll(ctx, inspect.Selection{Queue: c.name, Task: c.task, Limit: c.limit})
	fmt.Fprintf(c.out, "retried %d, skipped %d\n", done.Retried, done.Skipped)
	return err
}

func discard(ctx context.Context, c *call) error {
	return c.each(ctx, "discarded", func(id string) error { return c.view.Discard(ctx, c.name, id) })
}

// each acts on the jobs that were named, and returns the error with the highest exit
// code. It prints the others.
func (c *call) each(ctx context.Context, done string, act func(id string) error) error {
	var worst error
	for _, id := range c.ids {
		err := act(id)
		if err == nil {
			fmt.Fprintln(c.out, done, clean(id))
			continue
		}
		if exitCode(err) > exitCode(worst) {
			worst, err = err, worst
		}
		if err != nil {
			fmt.Fprintln(c.err, clean(textOf(err)))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return worst
}

func pause(ctx context.Context, c *call) error {
	if err := c.view.Pause(ctx, c.name); err != nil {
		return err
	}
	fmt.Fprintln(c.out, "paused", clean(c.name))
	return nil
}

func resume(ctx context.Context, c *call) error {
	if err := c.view.Resume(ctx, c.name); err != nil {
		return err
	}
	fmt.Fprintln(c.out, "resumed", clean(c.name))
	return nil
}
