package main

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"time"

	"github.com/goairlock/airlock/core"
)

// executors is the table of what -executor takes: one line here and one file
// beside this one for each.
var executors = []executor{
	syncExecutor,
	poolExecutor,
	asynqExecutor,
	riverExecutor,
	natsExecutor,
	workExecutor,
}

// executor is one way to get the work done.
type executor struct {
	name  string
	about string              // how it does the work, for -help
	flags func(*flag.FlagSet) // its own flags; may be nil
	open  func(ctx context.Context, reg *core.Registry) (*queue, error)
}

// queue is an open executor with workers on it.
type queue struct {
	exec core.Executor
	late time.Duration // how long after it is due a job may start here
	stop func(ctx context.Context) error

	// Of a queue in the shop's own database; else nil. inTx stores an order and
	// calls fn in one transaction, which is rolled back if fn fails, and with it
	// what fn's executor has taken. orders counts those stored.
	inTx   func(ctx context.Context, order string, fn func(core.Executor) error) error
	orders func(ctx context.Context) (int, error)
}

// flagOf returns the value of a flag that an executor declared.
func flagOf(ctx context.Context, name string) string {
	flags, _ := ctx.Value(flagsKey{}).(*flag.FlagSet)
	if flags == nil || flags.Lookup(name) == nil {
		return ""
	}
	return flags.Lookup(name).Value.String()
}

type flagsKey struct{}

func findExecutor(name string) (executor, error) {
	for _, e := range executors {
		if e.name == name {
			return e, nil
		}
	}
	return executor{}, fmt.Errorf("-executor %s: want one of%s", name, describeExecutors())
}

// describeExecutors has a line for each executor.
func describeExecutors() string {
	var b strings.Builder
	for _, e := range executors {
		fmt.Fprintf(&b, "\n  %-6s %s", e.name, e.about)
	}
	return b.String()
}
