package examples

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	// pages are those whose Go code is here, or in the examples of the packages.
	pages = []string{"start/*.md", "retries.md", "identity.md", "scopes.md", "composing.md", "transactions.md", "outbox.md", "testing.md", "workers.md"}

	// sources are the folders of that code.
	sources = []string{".", "../../example_test.go", "../../compose", "../../airlocktest"}
)

var (
	goBlock   = regexp.MustCompile("(?s)```go\n(.*?)```")
	blankLine = regexp.MustCompile(`\n\n+`)
)

// Every paragraph of Go in the pages is in one of the sources.
func TestThePagesShowThisCode(t *testing.T) {
	t.Parallel()
	var source strings.Builder
	for _, folder := range sources {
		must(t, filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" {
				return err
			}
			text, err := os.ReadFile(path)
			source.Write(text)
			source.WriteString(strings.ReplaceAll(string(text), "\n\t", "\n")) // the inside of functions
			return err
		}))
	}
	for _, pattern := range pages {
		files, err := filepath.Glob(filepath.Join("../../docs", pattern))
		must(t, err)
		if len(files) == 0 {
			t.Errorf("no page %s", pattern)
		}
		for _, file := range files {
			page, err := os.ReadFile(file)
			must(t, err)
			blocks := goBlock.FindAllStringSubmatch(string(page), -1)
			if len(blocks) == 0 {
				t.Errorf("%s shows no code", file)
			}
			for _, block := range blocks {
				if strings.Count(block[1], "{") != strings.Count(block[1], "}") || strings.Count(block[1], "(") != strings.Count(block[1], ")") {
					t.Errorf("%s shows code that is cut off:\n%s", file, block[1])
				}
				for _, paragraph := range blankLine.Split(strings.TrimSpace(block[1]), -1) {
					if !strings.Contains(source.String(), paragraph+"\n") {
						t.Errorf("%s shows what is not compiled:\n%s", file, paragraph)
					}
				}
			}
		}
	}
}

// The index has every page below docs.
func TestTheIndexHasEveryPage(t *testing.T) {
	t.Parallel()
	index, err := os.ReadFile("../../docs/README.md")
	must(t, err)
	pages := 0
	must(t, filepath.WalkDir("../../docs", func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".md" || d.Name() == "README.md" {
			return err
		}
		name, err := filepath.Rel("../../docs", path)
		if err != nil {
			return err
		}
		if pages++; !strings.Contains(string(index), "]("+filepath.ToSlash(name)+")") {
			t.Errorf("docs/README.md has no link to %s", name)
		}
		return nil
	}))
	if pages < 20 {
		t.Errorf("found %d pages", pages)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
