package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/goairlock/airlock/inspect"
)

// queues returns the queues that a command is about.
func (c *call) queues(ctx context.Context) ([]string, error) {
	if c.name != "" {
		return []string{c.name}, nil
	}
	names, err := c.view.Queues(ctx)
	var why *inspect.UnsupportedError
	if errors.As(err, &why) {
		return nil, fmt.Errorf("%w; name one with -name", err)
	}
	return names, err
}

// depths counts the jobs of the queues.
func (c *call) depths(ctx context.Context) ([]inspect.Depth, error) {
	names, err := c.queues(ctx)
	if err != nil {
		return nil, err
	}
	var depths []inspect.Depth
	for _, name := range names {
		d, err := c.view.Depth(ctx, name)
		switch {
		case errors.Is(err, inspect.ErrNotFound) && c.name == "": // it has gone meanwhile
			continue
		case err != nil:
			return nil, err
		}
		depths = append(depths, d)
	}
	return depths, nil
}

func stats(ctx context.Context, c *call) error {
	if c.watch {
		return watch(ctx, c)
	}
	depths, err := c.depths(ctx)
	if err != nil {
		return err
	}
	if c.json {
		return printJSON(c.out, depths)
	}
	if len(depths) == 0 {
		fmt.Fprintln(c.err, "there is no queue")
		return nil
	}
	var b bytes.Buffer
	depthTable(depths).write(&b)
	_, err = c.out.Write(b.Bytes())
	return err
}

func depthTable(depths []inspect.Depth) table {
	t := table{head: []string{"QUEUE", "WAITING", "DELAYED", "RUNNING", "DEAD", "PARKED", "OLDEST", ""}, right: 6}
	for _, d := range depths {
		paused := ""
		if d.Paused {
			paused = "paused"
		}
		t.add(d.Queue, count(d.Waiting), count(d.Delayed), count(d.Running), count(d.Dead), count(d.Parked), age(d.Oldest), paused)
	}
	return t
}

func count(c inspect.Count) string {
	if _, known := c.Known(); !known {
		return "?"
	}
	return c.String()
}

func age(a inspect.Age) string {
	d, known := a.Known()
	switch {
	case !known:
		return "?"
	case d == 0:
		return "-"
	}
	return short(d)
}

// short is a duration with the two units that matter.
func short(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= day:
		return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	case d >= time.Second:
		return d.Round(time.Second).String()
	}
	return d.Round(time.Millisecond).String()
}
