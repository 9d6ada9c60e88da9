package demo

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Main runs a program and ends the process with 1 if it fails, and with 130 if only an
// interrupt ended it. The first interrupt ends run's context, and the second one the
// process.
func Main(run func(ctx context.Context, args []string, out, errOut io.Writer) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return
	case err.Error() == ErrInterrupted.Error():
		os.Exit(130)
	}
	fmt.Fprintln(os.Stderr, "quickstart:", err)
	os.Exit(1)
}
