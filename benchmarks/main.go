package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// groups are what can be measured, by their names.
var groups = []func() Group{
	poolGroup,
	asynqGroup,
	asynqDistantGroup,
	workGroup,
	workDistantGroup,
	riverPostgresGroup,
	riverSQLiteGroup,
	natsGroup,
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
	flags := flag.NewFlagSet("benchmarks", flag.ContinueOnError)
	only := flags.String("only", "", "measure these groups only: names, separated by commas")
	out := flags.String("out", filepath.Join("artifacts", "benchmarks"), "folder for the JSON and SVG files")
	rounds := flags.Int("rounds", 200, "rounds for each size")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var wanted []string
	if *only != "" {
		wanted = strings.Split(*only, ",")
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return err
	}
	for _, make := range groups {
		g := make()
		if i := slices.Index(wanted, g.Name); i >= 0 {
			wanted = slices.Delete(wanted, i, i+1)
		} else if *only != "" {
			continue
		}
		report, err := g.measure(ctx, *rounds)
		if errors.Is(err, errNoServer) && *only == "" {
			fmt.Fprintf(os.Stderr, "benchmarks: %s is left out: %v\n", g.Name, err)
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", g.Name, err)
		}
		if err := report.print(os.Stdout); err != nil {
			return err
		}
		if err := report.write(*out); err != nil {
			return err
		}
	}
	if len(wanted) > 0 {
		return fmt.Errorf("no group of the name %s", strings.Join(wanted, ", "))
	}
	return nil
}

// write writes the report's JSON and SVG files.
func (r *Report) write(folder string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	base := filepath.Join(folder, r.Group)
	if err := os.WriteFile(base+".json", append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(base+".svg", r.svg(), 0o644)
}

func environment() Environment {
	return Environment{Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.GOMAXPROCS(0)}
}
