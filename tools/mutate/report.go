package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
)

// readExplanations reads the file of explanations: a line per survivor, with the key of
// the mutation and the reason, separated by tabs. Empty lines and comments are skipped.
func readExplanations(path string) (map[string]string, error) {
	reasons := map[string]string{}
	if path == "" {
		return reasons, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		i := strings.LastIndex(line, "\t")
		if i < 0 || strings.Count(line, "\t") != 3 {
			return nil, fmt.Errorf("%s:%d: want file, function, change and reason, separated by tabs", path, n)
		}
		reasons[line[:i]] = line[i+1:]
	}
	return reasons, lines.Err()
}

// report writes the counts and the survivors as a section of Markdown. It returns an
// error if a survivor is not explained.
func report(out io.Writer, dir string, results []result, reasons map[string]string) error {
	counts := map[verdict]int{}
	for _, r := range results {
		counts[r.verdict]++
	}
	fmt.Fprintf(out, "## %s\n\n%d changes: %d found by the tests, %d survived. %d more do not compile.\n",
		dir, len(results)-counts[invalid], counts[found], counts[survived], counts[invalid])
	if counts[survived] == 0 {
		return nil
	}
	fmt.Fprint(out, "\n| where | change | why it survives |\n|---|---|---|\n")
	unexplained := 0
	for _, r := range results {
		if r.verdict != survived {
			continue
		}
		reason, ok := reasons[r.key()]
		if !ok {
			reason = "**not explained**"
			unexplained++
		}
		_, change, _ := strings.Cut(r.key(), "\t")
		_, change, _ = strings.Cut(change, "\t")
		fmt.Fprintf(out, "| %s, %s | `%s` | %s |\n", r.file, r.function, strings.ReplaceAll(change, "|", "\\|"), reason)
	}
	if unexplained > 0 {
		return fmt.Errorf("%s: %d survivors are not explained", dir, unexplained)
	}
	return nil
}
