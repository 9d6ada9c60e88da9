package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/inspect"
)

// The exit codes.
const (
	exitDone = iota
	exitFailed
	exitUsage
	exitNotFound
	exitRefused
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// errUsage is for wrong flags and URLs.
var errUsage = errors.New("usage")

// command is one of the words after airlock.
type command struct {
	what string
	ids  bool // it takes IDs of jobs
	run  func(ctx context.Context, c *call) error
}

var commands = map[string]command{
	"stats":   {"count the jobs of each queue", false, stats},
	"dead":    {"list dead jobs and why they died", false, dead},
	"list":    {"list the jobs in a state", false, list},
	"show":    {"show a job", true, show},
	"retry":   {"run jobs again: those named, or dead ones with -all", true, retry},
	"discard": {"remove jobs, which cannot be undone", true, discard},
	"pause":   {"start no more jobs of a queue", false, pause},
	"resume":  {"start the jobs of a queue again", false, resume},
	"serve":   {"serve a page for a browser", false, serve},
}

// call is a command with its flags.
type call struct {
	out, err io.Writer
	view     inspect.Inspector
	place    string   // where the queue is, without credentials
	ids      []string // arguments

	url, name, task, state string
	limit                  int
	every                  duration
	json, payload          bool
	watch, all             bool
	addr, hosts            string
	write                  bool
}

func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	c := &call{out: out, err: errOut}
	err := c.do(ctx, args)
	if errors.Is(err, flag.ErrHelp) {
		return exitDone
	}
	if err != nil {
		fmt.Fprintln(errOut, clean(textOf(err)))
	}
	return exitCode(err)
}

// textOf is an error's text. Errors of the packages begin with the name of the command.
func textOf(err error) string {
	text := adapter.ErrorText(err, 4000)
	if !strings.HasPrefix(text, "airlock: ") {
		text = "airlock: " + text
	}
	return text
}

func exitCode(err error) int {
	is := func(targets ...error) bool {
		return slices.ContainsFunc(targets, func(t error) bool { return errors.Is(err, t) })
	}
	switch {
	case err == nil:
		return exitDone
	case is(inspect.ErrRunning, inspect.ErrDone, inspect.ErrUnreadable, core.ErrDuplicate, core.ErrUnsupported):
		return exitRefused
	case is(inspect.ErrNotFound):
		return exitNotFound
	case is(errUsage, core.ErrInvalid):
		return exitUsage
	}
	return exitFailed
}

func (c *call) do(ctx context.Context, args []string) error {
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "-help" || args[0] == "--help" {
		c.help()
		if len(args) == 0 {
			return fmt.Errorf("%w: give a command", errUsage)
		}
		return nil
	}
	cmd, ok := commands[args[0]]
	if !ok {
		c.help()
		return fmt.Errorf("%w: there is no command %q", errUsage, args[0])
	}
	if err := c.parse(args[0], &cmd, args[1:]); err != nil {
		return err
	}
	b, err := open(ctx, c.url)
	if err != nil {
		return err
	}
	defer b.close()
	c.view, c.place = b.Inspector, b.place
	return cmd.run(ctx, c)
}

func (c *call) help() {
	fmt.Fprintln(c.err, "airlock looks at job queues and acts on their jobs.\n\nusage: airlock <command> -queue URL [flags] [ID…]\n\ncommands:")
	names := make([]string, 0, len(commands))
	for name := range commands {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(c.err, "  %-8s %s\n", name, commands[name].what)
	}
	fmt.Fprintln(c.err, "\nURLs: "+strings.Join(schemes(), ", ")+"\nairlock <command> -h lists the flags.")
}
