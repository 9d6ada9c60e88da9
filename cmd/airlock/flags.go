package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/goairlock/airlock/inspect"
)

type duration = time.Duration

// parse reads the flags of a command, and what follows them.
func (c *call) parse(name string, cmd *command, args []string) error {
	f := flag.NewFlagSet("airlock "+name, flag.ContinueOnError)
	f.SetOutput(c.err)
	f.StringVar(&c.url, "queue", "", "the `URL` of the queue; by default that in AIRLOCK_QUEUE")
	f.StringVar(&c.name, "name", "", "the `queue`'s name, such as mail")
	switch name {
	case "stats", "dead", "list", "show":
		f.BoolVar(&c.json, "json", false, "print JSON, one value a line")
	}
	switch name {
	case "stats":
		f.BoolVar(&c.watch, "watch", false, "show the numbers again and again, until q or Ctrl-C")
		f.DurationVar(&c.every, "every", 2*time.Second, "how often -watch looks")
	case "dead", "list", "show":
		f.BoolVar(&c.payload, "payload", false, "show payloads and headers, which may be personal data")
	}
	switch name {
	case "dead", "list", "retry":
		f.StringVar(&c.task, "task", "", "only jobs of this `task`")
		f.IntVar(&c.limit, "limit", inspect.DefaultLimit, "at most this many jobs of a queue")
	case "serve":
		f.StringVar(&c.addr, "addr", "127.0.0.1:8088", "the `address` to listen on")
		f.StringVar(&c.hosts, "host", "", "further `hosts` by which browsers reach the page, separated by commas; required if the address is not a loopback one")
		f.BoolVar(&c.write, "write", false, "allow retry and discard")
	}
	switch name {
	case "list":
		f.StringVar(&c.state, "state", "waiting", "the `state`: waiting, delayed, running, dead, parked or done")
	case "retry":
		f.BoolVar(&c.all, "all", false, "retry dead jobs, up to -limit")
	}
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if c.url == "" {
		c.url = os.Getenv("AIRLOCK_QUEUE")
	}
	c.ids = f.Args()
	return c.check(name, cmd)
}

func (c *call) check(name string, cmd *command) error {
	usage := func(text string) error { return fmt.Errorf("%w: %s", errUsage, text) }
	switch {
	case c.url == "":
		return usage("no queue: give -queue URL or set AIRLOCK_QUEUE")
	case !cmd.ids && len(c.ids) > 0:
		return usage(name + " takes no arguments; flags come before them")
	case c.limit < 0:
		return usage("-limit must be 0 or more")
	case c.watch && c.every <= 0:
		return usage("-every must be more than 0")
	case c.watch && c.json:
		return usage("-watch is for people and -json for scripts")
	}
	switch name {
	case "show":
		if len(c.ids) != 1 || c.name == "" {
			return usage("show needs -name and one ID")
		}
	case "discard":
		if len(c.ids) == 0 || c.name == "" {
			return usage("discard needs -name and IDs")
		}
	case "pause", "resume":
		if c.name == "" {
			return usage(name + " needs -name")
		}
	case "retry":
		switch {
		case c.name == "":
			return usage("retry needs -name")
		case c.all == (len(c.ids) > 0):
			return usage("retry needs IDs or -all, and not both")
		case c.task != "" && !c.all:
			return usage("-task goes with -all")
		case c.all && c.limit == 0:
			return usage("-limit must be more than 0")
		}
	}
	return nil
}
