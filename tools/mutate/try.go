package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// A verdict says what became of a mutation.
type verdict int

const (
	found    verdict = iota // a test failed
	survived                // all tests passed
	invalid                 // it does not compile
)

type result struct {
	mutation
	verdict
}

// try runs the tests with each mutation. The tests must pass without one.
func try(ctx context.Context, cfg *config, mutations []mutation, progress io.Writer) ([]result, error) {
	temp, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp)
	if v, output := cfg.test(ctx, ""); v != survived {
		return nil, fmt.Errorf("the tests fail without any change:\n%s", output)
	}
	results := make([]result, len(mutations))
	errs := make([]error, cfg.workers)
	next := make(chan int)
	var wait sync.WaitGroup
	for w := range cfg.workers {
		wait.Go(func() {
			for i := range next {
				m := mutations[i]
				overlay, err := m.overlay(filepath.Join(temp, strconv.Itoa(w)))
				if err != nil {
					errs[w] = err
					continue
				}
				v, _ := cfg.test(ctx, overlay)
				results[i] = result{m, v}
				if v == survived {
					fmt.Fprintf(progress, "%d of %d: %s:%d survived: %s\n", i+1, len(mutations), m.file, m.line, m.key())
				}
			}
		})
	}
	for i := range mutations {
		if ctx.Err() != nil {
			break
		}
		next <- i
	}
	close(next)
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return results, ctx.Err()
}

// overlay writes the changed file and the JSON that puts it in place of the source.
func (m *mutation) overlay(base string) (string, error) {
	source, err := os.ReadFile(m.file)
	if err != nil {
		return "", err
	}
	path, err := filepath.Abs(m.file)
	if err != nil {
		return "", err
	}
	changed := append(append(bytes.Clone(source[:m.start]), m.new...), source[m.end:]...)
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {path: base + ".go"}})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(base+".go", changed, 0o600); err != nil {
		return "", err
	}
	return base + ".json", os.WriteFile(base+".json", replace, 0o600)
}

// test runs the tests of the package. A run that takes too long has found the fault.
func (cfg *config) test(ctx context.Context, overlay string) (verdict, []byte) {
	// go test ends the tests at the time-out. The longer one is for those that do not end.
	ctx, cancel := context.WithTimeout(ctx, 2*cfg.timeout+time.Minute)
	defer cancel()
	args := []string{"test", "-count=1", "-failfast", "-vet=off", "-timeout=" + cfg.timeout.String(), "-run=" + cfg.tests}
	if overlay != "" {
		args = append(args, "-overlay="+overlay)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, ".")...)
	cmd.Dir = cfg.dir
	cmd.WaitDelay = time.Second
	output, err := cmd.CombinedOutput()
	switch {
	case err == nil:
		return survived, output
	case bytes.Contains(output, []byte("[build failed]")):
		return invalid, output
	}
	return found, output
}
