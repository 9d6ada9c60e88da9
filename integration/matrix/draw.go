package main

import (
	"bytes"
	"fmt"
	"html"
	"strings"
	"unicode/utf8"

	"github.com/goairlock/airlock/conformance"
)

// markdown returns rows as a table.
func markdown(rows []row, columns []column) string {
	var b strings.Builder
	b.WriteString("|")
	for _, c := range columns {
		fmt.Fprintf(&b, " | %s", c.name)
	}
	b.WriteString(" |\n|---" + strings.Repeat("|---", len(columns)) + "|\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s", r.title)
		for _, c := range columns {
			fmt.Fprintf(&b, " | %s", r.cell(c))
		}
		b.WriteString(" |\n")
	}
	return b.String()
}

// document returns the matrix of every set-up, and each check that neither passed nor
// was refused as declared.
func document(columns []column) []byte {
	var b bytes.Buffer
	b.WriteString(`# Capability matrix

Written by ` + "`make matrix`" + ` from the [reports](../conformance/reports) of the conformance
suite. "native": the queue itself does it, also for other workers. "with our worker":
it is true where our worker runs the job. "always true here": there is nothing to do.
"refused": setting the option is an error; a check has seen the error, and that
nothing was stored. [As a picture](matrix.svg), of the usual set-ups.

`)
	b.WriteString(markdown(rows(), columns))
	b.WriteString("\n## Set-ups\n")
	for _, c := range columns {
		fmt.Fprintf(&b, "\n### %s\n\n", c.name)
		fmt.Fprintf(&b, "%s, %s, %s/%s, seed %d.", or(c.Subject.Backend, "in this process"), c.Env.Go, c.Env.OS, c.Env.Arch, c.Env.Seed)
		for _, level := range []conformance.Level{conformance.Core, conformance.Options, conformance.Faults, conformance.Inspect} {
			if o, ok := c.Summary[level]; ok {
				fmt.Fprintf(&b, " %s: %s.", level, o)
			}
		}
		b.WriteString("\n\n")
		for i := range c.Results {
			r := &c.Results[i]
			switch r.Verdict {
			case conformance.Pass, conformance.RefusedAsDeclared:
			default:
				fmt.Fprintf(&b, "- %s %s: %s%s\n", r.Name(), r.Verdict, r.Reason, r.Got)
			}
		}
	}
	b.WriteString(`
## Not tested

A suite on one machine cannot test loss of power, the failover of a replicated
backend that loses its newest writes, ID windows longer than a run, a jumping clock
on the broker's host, and operators' mistakes.
`)
	return b.Bytes()
}

func or(text, instead string) string {
	if text == "" {
		return instead
	}
	return text
}

const (
	charWidth  = 7 // of the widest usual fonts at this size
	padding    = 8
	lineHeight = 26
)

// widthOf returns the width of a column that shows all of these texts.
func widthOf(texts ...string) int {
	longest := 0
	for _, text := range texts {
		longest = max(longest, utf8.RuneCountInString(text))
	}
	return charWidth*longest + 2*padding
}

// svg returns the matrix as a picture: green is done, blue is always true, grey is
// refused, red has failed or is not proven.
func svg(columns []column) []byte {
	table := rows()
	height := lineHeight * (len(table) + 2)
	var titles []string
	for _, r := range table {
		titles = append(titles, r.title)
	}
	var cells bytes.Buffer
	text := func(x, y int, attributes, text string) {
		fmt.Fprintf(&cells, `<text x="%d" y="%d"%s>%s</text>`+"\n", x+padding, y+18, attributes, html.EscapeString(text))
	}
	for n, title := range titles {
		text(0, lineHeight*(n+1), "", title)
	}
	width := widthOf(titles...)
	for _, c := range columns {
		texts := []string{c.name}
		for _, r := range table {
			texts = append(texts, r.cell(c))
		}
		cellWidth := widthOf(texts...)
		text(width, 2, ` font-weight="bold"`, c.name)
		for n, cell := range texts[1:] {
			y := lineHeight * (n + 1)
			fmt.Fprintf(&cells, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s"/>`+"\n", width, y+2, cellWidth-4, lineHeight-4, colour(cell))
			text(width, y, "", cell)
		}
		width += cellWidth
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, height)
	b.Write(cells.Bytes())
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func colour(cell string) string {
	switch {
	case strings.HasPrefix(cell, "FAIL"), strings.HasPrefix(cell, "not proven"):
		return "#f4b6b6"
	case strings.HasPrefix(cell, native), strings.HasPrefix(cell, withWorker):
		return "#bfe6c4"
	case cell == alwaysTrue:
		return "#c9dcf5"
	}
	return "#eeeeee"
}
