// Command mutate finds out which faults in a package its tests do not notice. It makes
// one small change to the source at a time, such as < for <=, a deleted statement or a
// returned nil, and runs the tests. A change that the tests do not notice has survived:
// either a test is missing, or the change makes no difference.
//
//	mutate -explained conformance/reports/mutation-explained.txt ./executors/sync
//	mutate -files 'example_*_test.go' -run TestConformanceOfAQueue ./conformance
//
// The sources stay as they are: the changes reach the compiler with go test's -overlay.
// Tools that copy the module to another folder, such as gremlins v0.6.0, do not work
// here. The replace lines of go.mod are relative, so every copy fails to build, and each
// change counts as found.
//
// The report goes to the standard output. The exit code is 1 if a change has survived
// that the file of explanations does not list.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

type config struct {
	dir       string        // of the package
	files     string        // a pattern of file names
	tests     string        // the -run flag of go test
	timeout   time.Duration // of one run of the tests
	workers   int
	explained string // the file of explanations, or ""
}

func run(ctx context.Context, args []string, out, progress io.Writer) error {
	var cfg config
	flags := flag.NewFlagSet("mutate", flag.ContinueOnError)
	flags.SetOutput(progress)
	flags.StringVar(&cfg.files, "files", "", "change only files that match this `pattern`; default: all but the tests")
	flags.StringVar(&cfg.tests, "run", "", "run only tests that match this `expression`")
	flags.DurationVar(&cfg.timeout, "timeout", time.Minute, "how long the tests may take")
	flags.IntVar(&cfg.workers, "workers", runtime.GOMAXPROCS(0), "how many changes are tried at once")
	flags.StringVar(&cfg.explained, "explained", "", "a `file` that explains survivors")
	flags.Usage = func() {
		fmt.Fprintln(progress, "usage: mutate [flags] folder")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 || cfg.workers < 1 || cfg.timeout <= 0 {
		flags.Usage()
		return errors.New("want one folder, and positive values")
	}
	cfg.dir = filepath.Clean(flags.Arg(0))
	reasons, err := readExplanations(cfg.explained)
	if err != nil {
		return err
	}
	mutations, err := findMutations(cfg.dir, cfg.files)
	if err != nil {
		return err
	}
	results, err := try(ctx, &cfg, mutations, progress)
	if err != nil {
		return err
	}
	return report(out, cfg.dir, results, reasons)
}
