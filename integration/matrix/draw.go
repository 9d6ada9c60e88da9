package main

import (
	"bytes"
	"fmt"
	"html"
	"strings"

	"github.com/goairlock/airlock/conformance"
)

// markdown is the matrix as a table, with the picture's address above it.
func markdown(columns []column, picture string) string {
	var b strings.Builder
	b.WriteString("|")
	for _, c := range columns {
		fmt.Fprintf(&b, " | %s", c.name)
	}
	b.WriteString(" |\n|---" + strings.Repeat("|---", len(columns)) + "|\n")
	for _, r := range rows() {
		fmt.Fprintf(&b, "| %s", r.title)
		for _, c := range columns {
			fmt.Fprintf(&b, " | %s", r.cell(c))
		}
		b.WriteString(" |\n")
	}
	if picture != "" {
		fmt.Fprintf(&b, "\n[As a picture](%s).\n", picture)
	}
	return b.String()
}

// document is the matrix of every set-up, and what did not simply pass.
func document(columns []column) []byte {
	var b bytes.Buffer
	b.WriteString(`# Capability matrix

Written by ` + "`make matrix`" + ` from the [reports](../conformance/reports) of the conformance
suite. "native": the queue itself does it, whoever works the job. "our worker": it
holds where our worker half runs the job. "holds by itself": there is nothing to
do here. "refused": setting the option is an error, and a check has seen that
error, and that nothing was stored.

`)
	b.WriteString(markdown(columns, ""))
	b.WriteString("\n## Set-ups\n")
	for _, c := range columns {
		fmt.Fprintf(&b, "\n### %s\n\n", c.name)
		fmt.Fprintf(&b, "%s, %s, %s/%s, seed %d.", or(c.Subject.Backend, "in this process"), c.Env.Go, c.Env.OS, c.Env.Arch, c.Env.Seed)
		for _, level := range []conformance.Level{conformance.Core, conformance.Options, conformance.Faults} {
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

What no suite on one machine can see: loss of power, failover of a replicated
backend that loses its newest writes, ID windows longer than a run, clocks of the
broker's host that jump, and mistakes of operators.
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
	cellWidth, titleWidth, lineHeight = 170, 300, 26
)

// svg is the matrix as a picture: green does it, blue holds by itself, grey is
// refused, red has failed or is not proven.
func svg(columns []column) []byte {
	width := titleWidth + cellWidth*len(columns)
	table := rows()
	height := lineHeight * (len(table) + 2)
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, height)
	for i, c := range columns {
		fmt.Fprintf(&b, `<text x="%d" y="20" font-weight="bold">%s</text>`+"\n", titleWidth+i*cellWidth+8, html.EscapeString(c.name))
	}
	for n, r := range table {
		y := lineHeight * (n + 1)
		fmt.Fprintf(&b, `<text x="8" y="%d">%s</text>`+"\n", y+18, html.EscapeString(r.title))
		for i, c := range columns {
			text := r.cell(c)
			x := titleWidth + i*cellWidth
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s"/>`+"\n", x, y+2, cellWidth-4, lineHeight-4, colour(text))
			fmt.Fprintf(&b, `<text x="%d" y="%d">%s</text>`+"\n", x+8, y+18, html.EscapeString(text))
		}
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func colour(cell string) string {
	switch {
	case strings.HasPrefix(cell, "FAIL"), strings.HasPrefix(cell, "not proven"):
		return "#f4b6b6"
	case strings.HasPrefix(cell, "native"), strings.HasPrefix(cell, "our worker"):
		return "#bfe6c4"
	case cell == "holds by itself":
		return "#c9dcf5"
	}
	return "#eeeeee"
}
