// Matrix writes the capability matrix into README.md, docs/matrix.md and
// docs/matrix.svg, from the reports of the conformance suite. Nothing in it is written
// by hand. A claim is in it only if every check of it has run.
//
//	go run ./integration/matrix          # write the files
//	go run ./integration/matrix -check   # report which file differs, and exit with 1
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goairlock/airlock/conformance"
)

func main() {
	root := flag.String("root", ".", "the repository's root folder")
	check := flag.Bool("check", false, "write nothing, and fail if a file would change")
	flag.Parse()
	if err := run(*root, *check); err != nil {
		fmt.Fprintln(os.Stderr, "matrix:", err)
		os.Exit(1)
	}
}

// run makes all files, and either writes or compares them.
func run(root string, check bool) error {
	columns, err := readReports(filepath.Join(root, "conformance", "reports"))
	if err != nil {
		return err
	}
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		return err
	}
	if readme, err = between(readme, summary(mainColumns(columns))); err != nil {
		return err
	}
	var errs []error
	for file, text := range map[string][]byte{
		"README.md":       readme,
		"docs/matrix.md":  document(columns),
		"docs/matrix.svg": svg(mainColumns(columns)),
	} {
		errs = append(errs, put(filepath.Join(root, file), text, check))
	}
	return errors.Join(errs...)
}

func put(file string, text []byte, check bool) error {
	if !check {
		return os.WriteFile(file, text, 0o644)
	}
	old, err := os.ReadFile(file)
	if err == nil && !bytes.Equal(old, text) {
		err = fmt.Errorf("%s differs from the reports: run go run ./integration/matrix", file)
	}
	return err
}

// A column is one report: an executor in one set-up.
type column struct {
	name string // of the report's file: "asynq", or "asynq-cluster"
	*conformance.Report
}

// order is the order of executors in tables. Others follow, by name.
var order = []string{"sync", "pool", "asynq", "river", "work", "nats", "rabbitmq", "celery"}

func readReports(dir string) ([]column, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no reports in %s: run make matrix", dir)
	}
	var columns []column
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		report, err := conformance.ReadReport(bytes.NewReader(data))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		c := column{strings.TrimSuffix(filepath.Base(file), ".json"), report}
		if c.Claims == nil {
			return nil, fmt.Errorf("%s: a report without claims", file)
		}
		columns = append(columns, c)
	}
	slices.SortFunc(columns, func(a, b column) int {
		if d := rank(a.name) - rank(b.name); d != 0 {
			return d
		}
		return strings.Compare(a.name, b.name)
	})
	return columns, nil
}

func rank(name string) int {
	executor, _, _ := strings.Cut(name, "-")
	if i := slices.Index(order, executor); i >= 0 {
		return i
	}
	return len(order)
}

// mainColumns returns the executors in their usual set-up.
func mainColumns(columns []column) []column {
	return slices.DeleteFunc(slices.Clone(columns), func(c column) bool { return strings.Contains(c.name, "-") })
}

const (
	begin = "<!-- matrix: written by make matrix -->\n"
	end   = "<!-- matrix end -->\n"
)

// between replaces the text between the two marks.
func between(text []byte, with string) ([]byte, error) {
	head, rest, ok := bytes.Cut(text, []byte(begin))
	_, tail, ok2 := bytes.Cut(rest, []byte(end))
	if !ok || !ok2 {
		return nil, errors.New("README.md has no marks for the matrix")
	}
	return slices.Concat(head, []byte(begin), []byte(with), []byte(end), tail), nil
}
