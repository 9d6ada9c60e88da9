// Conformance-report reads the reports and histories of the conformance suite.
//
//	go run github.com/goairlock/airlock/conformance/cmd/conformance-report [-all] FILE...
//
// A file that ends in .json is a report. The command checks it against the suite and
// prints a summary, with every check that did not pass, or with -all every check. A
// file that ends in .jsonl is the history of a check. The command judges it again,
// with the code of the suite.
//
// The exit code is 0 for success, 1 if a check failed or a history breaks a rule, 2 if
// something was not run or inconclusive, and 3 if a file cannot be used.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/goairlock/airlock/conformance"
)

func main() {
	all := flag.Bool("all", false, "show the checks that passed too")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: conformance-report [-all] FILE...\n\nFILE is a report (.json) or the history of a check (.jsonl).")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(3)
	}
	worst := 0
	for _, file := range flag.Args() {
		code, err := show(os.Stdout, file, *all)
		if err != nil {
			fmt.Fprintln(os.Stderr, "conformance-report:", err)
			code = 3
		}
		worst = worse(worst, code)
	}
	os.Exit(worst)
}

// worse returns the exit code that matters more: 3, then 1, then 2.
func worse(a, b int) int {
	rank := map[int]int{0: 0, 2: 1, 1: 2, 3: 3}
	if rank[b] > rank[a] {
		return b
	}
	return a
}

func show(w io.Writer, file string, all bool) (code int, err error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	switch filepath.Ext(file) {
	case ".json":
		code, err = showReport(w, f, all)
	case ".jsonl":
		code, err = showHistory(w, f)
	default:
		err = errors.New("neither .json nor .jsonl")
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", file, err)
	}
	return code, nil
}

func showReport(w io.Writer, r io.Reader, all bool) (int, error) {
	report, err := conformance.ReadReport(r)
	if err != nil {
		return 0, err
	}
	s, e := report.Subject, report.Env
	fmt.Fprintf(w, "%s %s, %s, %s %s/%s, seed %d\n", s.Name, s.Module, s.Backend, e.Go, e.OS, e.Arch, e.Seed)
	for _, level := range []conformance.Level{conformance.Core, conformance.Options, conformance.Faults, conformance.Inspect} {
		if o, ok := report.Summary[level]; ok {
			fmt.Fprintf(w, "%-8s %s\n", level, o)
		}
	}
	counts := map[conformance.Verdict]int{}
	for i := range report.Results {
		res := &report.Results[i]
		counts[res.Verdict]++
		switch {
		case res.Verdict == conformance.Fail:
			fmt.Fprintf(w, "%s %s: want %s, got %s\n  repeat: %s\n", res.Name(), res.Verdict, res.Want, res.Got, res.Repro)
		case res.Verdict != conformance.Pass:
			fmt.Fprintf(w, "%s %s: %s\n", res.Name(), res.Verdict, res.Reason)
		case all:
			fmt.Fprintf(w, "%s %s, %d ms\n", res.Name(), res.Verdict, res.Millis)
		}
	}
	fmt.Fprintf(w, "%d checks, %d passed, %d failed\n", len(report.Results), counts[conformance.Pass], counts[conformance.Fail])
	return report.Outcome().ExitCode(), nil
}

func showHistory(w io.Writer, r io.Reader) (int, error) {
	t, err := conformance.Recheck(r)
	if err != nil {
		return 0, err
	}
	fmt.Fprintf(w, "%+v\n", t)
	if t.Lost+t.Phantom+t.StoredTwice+t.Overlapped+t.Contradicted > 0 {
		return 1, nil
	}
	return 0, nil
}
