package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"
)

// checkLinks returns an error that lists the links in Markdown files that lead
// nowhere. Of links to other hosts it looks at the syntax alone.
func (ws *workspace) checkLinks() error {
	pages, err := markdownFiles(ws.root)
	if err != nil {
		return err
	}
	var breaks []string
	for _, page := range pages {
		found, err := linkBreaks(ws.root, page)
		if err != nil {
			return err
		}
		breaks = append(breaks, found...)
	}
	if len(breaks) == 0 {
		return nil
	}
	return errors.New("links that lead nowhere:\n  " + strings.Join(breaks, "\n  "))
}

// markdownFiles returns the Markdown files below root, without those in folders
// whose names begin with a dot.
func markdownFiles(root string) (pages []string, err error) {
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir
		case !d.IsDir() && filepath.Ext(path) == ".md":
			pages = append(pages, path)
		}
		return nil
	})
	return pages, err
}

// linkBreaks returns what is wrong with the links of one page.
func linkBreaks(root, page string) (breaks []string, err error) {
	text, err := os.ReadFile(page)
	if err != nil {
		return nil, fmt.Errorf("repo: %w", err)
	}
	name, err := filepath.Rel(root, page)
	if err != nil {
		return nil, fmt.Errorf("repo: %w", err)
	}
	for _, target := range linksOf(string(text)) {
		if wrong := linkBreak(root, page, target); wrong != "" {
			breaks = append(breaks, fmt.Sprintf("%s: (%s): %s", filepath.ToSlash(name), target, wrong))
		}
	}
	return breaks, nil
}

var (
	codeBlock = regexp.MustCompile("(?ms)^[ \t]*```.*?^[ \t]*```[ \t]*$")
	codeSpan  = regexp.MustCompile("`[^`\n]*`")
	// A target has no space, and may have parentheses in pairs.
	inlineLink = regexp.MustCompile(`\]\(<?((?:[^()\s<>]|\([^()\s]*\))*)>?(?:\s+"[^"]*")?\)`)
	// [name]: target, on a line of its own.
	definedLink = regexp.MustCompile(`(?m)^ {0,3}\[[^\]^]+\]:\s*(\S+)`)
	htmlLink    = regexp.MustCompile(`(?:href|src|srcset)="([^"]*)"`)
)

// linksOf returns the targets of the links and pictures of a page. What is in code
// is none.
func linksOf(text string) (targets []string) {
	text = codeSpan.ReplaceAllString(codeBlock.ReplaceAllString(text, ""), "")
	for _, form := range []*regexp.Regexp{inlineLink, definedLink, htmlLink} {
		for _, match := range form.FindAllStringSubmatch(text, -1) {
			targets = append(targets, match[1])
		}
	}
	return targets
}

// linkBreak returns what is wrong with a link, "" for nothing.
func linkBreak(root, page, target string) string {
	u, err := url.Parse(target)
	switch {
	case err != nil:
		return err.Error()
	case u.Scheme == "http" || u.Scheme == "https":
		if u.Host == "" {
			return "no host"
		}
		return ""
	case u.Scheme == "mailto":
		return ""
	case u.Scheme != "" || u.Host != "" || strings.HasPrefix(u.Path, "/"):
		return "neither relative nor http"
	case u.Path == "" && u.Fragment == "":
		return "empty"
	}
	file := page
	if u.Path != "" {
		file = filepath.Join(filepath.Dir(page), filepath.FromSlash(u.Path))
	}
	if inside, err := filepath.Rel(root, file); err != nil || !filepath.IsLocal(inside) {
		return "outside of the repository"
	}
	if _, err := os.Stat(file); err != nil {
		return "no such file"
	}
	if u.Fragment == "" {
		return ""
	}
	if filepath.Ext(file) != ".md" {
		return "only Markdown files have headings"
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	if !anchorsOf(string(text))[u.Fragment] {
		return "no such heading"
	}
	return ""
}

var (
	heading  = regexp.MustCompile(`(?m)^#{1,6}[ \t]+(.*?)[ \t]*#*[ \t]*$`)
	linkText = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// anchorsOf returns the anchors that GitHub gives to the headings of a page.
func anchorsOf(text string) map[string]bool {
	anchors, count := map[string]bool{}, map[string]int{}
	for _, match := range heading.FindAllStringSubmatch(codeBlock.ReplaceAllString(text, ""), -1) {
		anchor := anchorOf(linkText.ReplaceAllString(match[1], "$1"))
		if n := count[anchor]; n > 0 {
			anchors[fmt.Sprintf("%s-%d", anchor, n)] = true
		} else {
			anchors[anchor] = true
		}
		count[anchor]++
	}
	return anchors
}

// anchorOf keeps letters, digits, "-" and "_", and turns spaces into "-".
func anchorOf(title string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_':
			return unicode.ToLower(r)
		}
		return -1
	}, title)
}
