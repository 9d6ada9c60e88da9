package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A measurable is a [Group] or a [WorkerGroup].
type measurable interface {
	name() string
	queue() string
	measure(ctx context.Context, e effort) (report, error)
	read(data []byte) (report, error) // what measure returned, from its JSON
}

// A report is a [Report] or a [WorkerReport].
type report interface {
	print(to io.Writer) error
	environment() Environment
	comparisons() []comparison
	details() (bars []bar, against string)
}

// all returns everything that can be measured, in the order of the documents.
func all() []measurable {
	var list []measurable
	for _, make := range groups {
		list = append(list, make())
	}
	for _, make := range workerGroups {
		list = append(list, make())
	}
	return list
}

// groups are the ways to dispatch that can be measured.
var groups = []func() Group{
	poolGroup,
	asynqGroup,
	asynqDistantGroup,
	workGroup,
	workDistantGroup,
	riverPostgresGroup,
	riverSQLiteGroup,
	natsGroup,
	rabbitmqGroup,
	celeryGroup,
	celeryAMQPGroup,
	outboxGroup,
}

// workerGroups are the queues whose workers can be measured.
var workerGroups = []func() WorkerGroup{
	asynqWorkers,
	workWorkers,
	riverWorkers,
	natsWorkers,
	rabbitmqWorkers,
	celeryWorkers,
	celeryAMQPWorkers,
}

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "benchmarks:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	var e effort
	flags := flag.NewFlagSet("benchmarks", flag.ContinueOnError)
	results := flags.String("results", filepath.Join("artifacts", "benchmarks"), "folder of the JSON files")
	docs := flags.String("draw", "", "measure nothing: write benchmarks.md and its pictures into this folder, from the results")
	only := flags.String("only", "", "measure these groups only: names, separated by commas")
	flags.DurationVar(&e.limit, "limit", 40*time.Second, "about how long the rounds of each group take")
	flags.BoolVar(&e.short, "short", false, "one round of little work, to see that everything runs")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *docs != "" {
		return drawResults(*results, *docs)
	}
	chosen, err := choose(*only)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(*results, 0o755); err != nil {
		return err
	}
	for _, g := range chosen {
		report, err := g.measure(ctx, e)
		if errors.Is(err, errNoServer) && *only == "" {
			fmt.Fprintf(os.Stderr, "benchmarks: %s is left out: %v\n", g.name(), err)
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", g.name(), err)
		}
		if err := report.print(os.Stdout); err != nil {
			return err
		}
		data, err := json.MarshalIndent(report, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(*results, g.name()+".json"), append(data, '\n'), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// choose returns the groups of these names, or all.
func choose(names string) ([]measurable, error) {
	if names == "" {
		return all(), nil
	}
	var chosen []measurable
	for name := range strings.SplitSeq(names, ",") {
		list := all()
		i := slices.IndexFunc(list, func(g measurable) bool { return g.name() == name })
		if i < 0 {
			return nil, fmt.Errorf("no group of the name %s", name)
		}
		chosen = append(chosen, list[i])
	}
	return chosen, nil
}
