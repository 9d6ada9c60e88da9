package main

import (
	"bytes"
	"fmt"
	"html"
)

const (
	chartWidth = 760
	nameWidth  = 200
	barsWidth  = 430
	barHeight  = 12
	rowHeight  = 2*barHeight + 10
	headHeight = 34
)

// svg draws two bars per row, the hand-over within the time until done, with
// one panel and one scale for each size.
func (r *Report) svg() []byte {
	longest := map[int]float64{}
	panels := 0
	for _, row := range r.Rows {
		if _, seen := longest[row.Size]; !seen {
			panels++
		}
		longest[row.Size] = max(longest[row.Size], row.HandOver, row.Done)
	}
	height := headHeight*(panels+2) + rowHeight*len(r.Rows)
	var b bytes.Buffer
	text := func(x, y int, attrs, format string, args ...any) {
		fmt.Fprintf(&b, `<text x="%d" y="%d" %s>%s</text>`+"\n", x, y, attrs, html.EscapeString(fmt.Sprintf(format, args...)))
	}
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n",
		chartWidth, height, chartWidth, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", chartWidth, height)
	text(12, 22, `font-size="15" font-weight="bold"`, "%s", r.Title)
	text(12, 40, `fill="#666"`, "per intent, less is better: dark the hand-over, light until done; %s, %d CPUs, median of %d rounds",
		r.Environment.Go, r.Environment.CPUs, r.Rounds)
	y, size := headHeight+16, 0
	for _, row := range r.Rows {
		if row.Size != size {
			size = row.Size
			y += headHeight
			text(12, y-8, `font-weight="bold"`, "N = %d", size)
		}
		text(nameWidth, y+barHeight+2, `text-anchor="end"`, "%s", row.Contender)
		for i, bar := range []struct {
			ns   float64
			fill string
		}{{row.HandOver, "#1f5f8b"}, {row.Done, "#a9cce3"}} {
			if bar.ns == 0 {
				continue
			}
			width := max(1, int(barsWidth*bar.ns/longest[size]))
			top := y + i*barHeight
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s"/>`+"\n", nameWidth+8, top, width, barHeight-1, bar.fill)
			text(nameWidth+14+width, top+barHeight-2, `font-size="10"`, "%s", nanos(bar.ns))
		}
		y += rowHeight
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}
