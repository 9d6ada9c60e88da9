package main

import (
	"context"
	"errors"
	"slices"
)

// cleanup is what has to be undone in the end, the last thing first.
type cleanup []func() error

func (c *cleanup) add(undo func() error) { *c = append(*c, undo) }

// start runs a worker until the cleanup, which waits for it.
func (c *cleanup) start(ctx context.Context, run func(ctx context.Context) error) {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	c.add(func() error { stop(); return <-ended })
}

func (c cleanup) run() error {
	var errs []error
	for _, undo := range slices.Backward(c) {
		errs = append(errs, undo())
	}
	return errors.Join(errs...)
}

// failed runs the cleanup if the function that began it ends with an error.
func (c *cleanup) failed(err *error) {
	if *err != nil {
		*err = errors.Join(*err, c.run())
	}
}
