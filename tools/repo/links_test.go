package main

import (
	"path/filepath"
	"testing"
)

func TestLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write(t, filepath.Join(root, "docs/other.md"), "# Other\n\n## What `asynq` does, [here](x.md)\n\n## Twice\n\n## Twice\n\n```sh\n# no heading\n```\n")
	write(t, filepath.Join(root, "main.go"), "package main\n")
	for name, c := range map[string]struct {
		page string
		want string // in the only break, "" for none
	}{
		"a file":                      {"see [it](other.md)", ""},
		"a folder":                    {"see [it](../docs)", ""},
		"a heading":                   {"see [it](other.md#what-asynq-does-here)", ""},
		"the second of two headings":  {"see [it](other.md#twice-1)", ""},
		"a heading of this page":      {"# Über uns\n\nsee [it](#über-uns)", ""},
		"a picture":                   {"![it](other.md)", ""},
		"a title":                     {`see [it](other.md "the other")`, ""},
		"a link by name":              {"see [it]\n\n[it]: other.md", ""},
		"another host":                {"see [it](https://example.com/a_(b)?x=1#y)", ""},
		"mail":                        {"write to [us](mailto:a@example.com)", ""},
		"a link in a block of code":   {"```go\nx := [1](nowhere.md)\n```", ""},
		"a link in a span of code":    {"`[it](nowhere.md)`", ""},
		"no such file":                {"see [it](nowhere.md)", "page.md: (nowhere.md): no such file"},
		"no such picture":             {"![it](nowhere.svg)", "no such file"},
		"no such file in HTML":        {`<img src="nowhere.svg">`, "no such file"},
		"no such file by name":        {"see [it]\n\n[it]: nowhere.md", "no such file"},
		"no such heading":             {"see [it](other.md#nowhere)", "no such heading"},
		"a comment in code":           {"see [it](other.md#no-heading)", "no such heading"},
		"no such heading here":        {"# Here\n\nsee [it](#there)", "no such heading"},
		"a heading of a file in Go":   {"see [it](../main.go#L1)", "only Markdown"},
		"a path of the machine":       {"see [it](/docs/other.md)", "neither relative nor http"},
		"a file outside":              {"see [it](../../other.md)", "outside of the repository"},
		"an external link that is no": {"see [it](https://)", "no host"},
		"a URL that is none":          {"see [it](https://exa%zzmple.com)", "invalid URL escape"},
		"nothing":                     {"see [it]()", "empty"},
	} {
		t.Run(name, func(t *testing.T) {
			page := filepath.Join(root, "docs", "page.md")
			write(t, page, c.page)
			breaks, err := linkBreaks(root, page)
			if err != nil {
				t.Fatal(err)
			}
			expectBreak(t, breaks, c.want)
		})
	}
}

func TestEveryPageOutsideOfHiddenFoldersIsRead(t *testing.T) {
	t.Parallel()
	ws := &workspace{root: t.TempDir()}
	write(t, filepath.Join(ws.root, "README.md"), "see [it](docs/page.md)")
	write(t, filepath.Join(ws.root, "docs/page.md"), "see [it](../README.md)")
	write(t, filepath.Join(ws.root, ".cache/page.md"), "see [it](nowhere.md)")
	if err := ws.checkLinks(); err != nil {
		t.Error(err)
	}
	write(t, filepath.Join(ws.root, "docs/page.md"), "see [it](nowhere.md)")
	if err := ws.checkLinks(); err == nil {
		t.Error("a link that leads nowhere was not found")
	}
}
