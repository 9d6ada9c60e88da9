package main

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"strconv"

	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// A bar is one line of a picture: a ratio, or a heading.
type bar struct {
	label string
	ratio float64 // 0: the label is the heading of the bars that follow
	limit float64 // the largest ratio that is wanted; 0: none
	ours  bool
}

func (b bar) missed() bool { return missed(b.ratio, b.limit) }

// text is what is written after the bar. That a target is missed is said in a word and
// not only by a colour.
func (b bar) text() string {
	switch {
	case b.limit == 0:
		return fmt.Sprintf("%.2f", b.ratio)
	case b.missed():
		return fmt.Sprintf("%.2f > %g, missed", b.ratio, b.limit)
	}
	return fmt.Sprintf("%.2f ≤ %g", b.ratio, b.limit)
}

func (b bar) colour() color.Color {
	switch {
	case b.missed():
		return color.RGBA{0xc0, 0x28, 0x28, 0xff}
	case b.limit > 0:
		return color.RGBA{0x2a, 0x7f, 0x62, 0xff}
	case b.ours:
		return color.RGBA{0x1f, 0x5f, 0x8b, 0xff}
	}
	return color.RGBA{0xa8, 0xb0, 0xb8, 0xff}
}

var (
	ink  = color.RGBA{0x1f, 0x23, 0x28, 0xff}
	pale = color.RGBA{0xe3, 0xe6, 0xea, 0xff}
)

// A panel is one diagram of a picture, with bars on a logarithmic scale.
type panel struct {
	title string
	bars  []bar
}

// Sizes in points, which are 4/3 of a pixel of a browser.
const (
	pictureWidth vg.Length = 620
	margin       vg.Length = 12
	rowHeight    vg.Length = 12
	lineHeight   vg.Length = 13
	panelHead    vg.Length = 46 // title and axis
	panelGap     vg.Length = 12 // below the axis
	textSize     vg.Length = 8.5
	wider                  = 1.2 // how much wider a reader's font may be than ours, as DejaVu Sans is
)

func (p panel) height() vg.Length { return panelHead + rowHeight*vg.Length(len(p.bars)) + panelGap }

// writing is a style of text.
func writing(size vg.Length, weight xfont.Weight) draw.TextStyle {
	return draw.TextStyle{
		Color: ink, Font: font.Font{Typeface: "Liberation", Variant: "Sans", Size: size, Weight: weight},
		XAlign: draw.XLeft, YAlign: draw.YCenter, Handler: plot.DefaultTextHandler,
	}
}

// picture draws panels in columns below a title and lines of text, on a background of its
// own, so that it can be read on any page.
func picture(title string, lines []string, columns ...[]panel) []byte {
	head := margin + lineHeight*vg.Length(len(lines)+2)
	var tallest vg.Length
	for _, column := range columns {
		height := vg.Length(0)
		for _, p := range column {
			height += p.height()
		}
		tallest = max(tallest, height)
	}
	height := head + tallest + margin
	svg := vgsvg.New(pictureWidth, height)
	c := draw.New(svg)
	c.SetColor(color.White)
	c.Fill(c.Rectangle.Path())
	y := height - margin - lineHeight/2
	c.FillText(writing(12, xfont.WeightBold), vg.Point{X: margin, Y: y}, title)
	for _, line := range lines {
		y -= lineHeight
		c.FillText(writing(textSize, xfont.WeightNormal), vg.Point{X: margin, Y: y}, line)
	}
	width := (pictureWidth - margin) / vg.Length(len(columns))
	for i, column := range columns {
		top := height - head
		for _, p := range column {
			p.draw(draw.Crop(c, margin+width*vg.Length(i), width*vg.Length(i+1)-pictureWidth, top-p.height()+panelGap, top-height))
			top -= p.height()
		}
	}
	var b bytes.Buffer
	svg.WriteTo(&b) //nolint:errcheck // a buffer takes everything
	// Arial and Helvetica are as wide as Liberation Sans, which few have.
	return bytes.ReplaceAll(b.Bytes(), []byte("font-family:Liberation Sans"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif"))
}

func (p panel) draw(c draw.Canvas) {
	d := plot.New()
	d.BackgroundColor = color.Transparent
	d.Title.Text, d.Title.TextStyle = p.title, writing(textSize+1, xfont.WeightBold)
	d.Title.TextStyle.XAlign, d.Title.TextStyle.YAlign = draw.XCenter, draw.YTop
	lowest, highest := 0.8, 1.25
	var labels plot.ConstantTicks
	for i, b := range p.bars {
		if b.ratio > 0 {
			lowest, highest = min(lowest, b.ratio), max(highest, b.ratio, b.limit)
			if b.limit > 0 {
				lowest = min(lowest, b.limit)
			}
			labels = append(labels, plot.Tick{Value: -float64(i), Label: b.label})
		}
	}
	labelWidth, textWidth := p.widths()
	d.X.Min = lowest / 1.1
	room := float64(textWidth / (c.Max.X - c.Min.X - wider*labelWidth)) // for the text after the longest bar
	d.X.Max = highest * math.Pow(highest/d.X.Min, room/(1-room))
	d.X.Scale, d.X.Tick.Marker = plot.LogScale{}, powers(d.X.Min, d.X.Max)
	d.X.Tick.Label = writing(textSize, xfont.WeightNormal)
	d.X.Tick.Label.XAlign, d.X.Tick.Label.YAlign = draw.XCenter, draw.YTop
	d.X.Width = 0
	d.Y.Min, d.Y.Max = 0.5-float64(len(p.bars)), 0.5
	d.Y.Tick.Marker, d.Y.Tick.Length, d.Y.Width, d.Y.Padding = labels, 0, 0, (wider-1)*labelWidth
	d.Y.Tick.Label = writing(textSize, xfont.WeightNormal)
	d.Y.Tick.Label.XAlign = draw.XRight
	grid := plotter.NewGrid()
	grid.Horizontal.Width, grid.Vertical.Color = 0, pale
	d.Add(grid, p)
	d.Draw(c)
}

// widths returns what the labels of the bars and the texts after them need.
func (p panel) widths() (label, text vg.Length) {
	plain, bold := writing(textSize, xfont.WeightNormal), writing(textSize, xfont.WeightBold)
	for _, b := range p.bars {
		if b.ratio > 0 {
			label, text = max(label, plain.Width(b.label)), max(text, wider*bold.Width(b.text()))
		}
	}
	return label + textSize/2, text + textSize
}

// powers returns ticks at powers of two, or of ten if those would be too many.
func powers(lowest, highest float64) plot.ConstantTicks {
	base := 2.0
	if highest/lowest > 256 {
		base = 10
	}
	var ticks plot.ConstantTicks
	for v := math.Pow(base, math.Ceil(math.Log(lowest)/math.Log(base))); v <= highest; v *= base {
		ticks = append(ticks, plot.Tick{Value: v, Label: strconv.FormatFloat(v, 'g', 6, 64)})
	}
	return ticks
}

// Plot draws the bars from 1, which is where both are equally fast, and their targets.
func (p panel) Plot(c draw.Canvas, d *plot.Plot) {
	x, y := d.Transforms(&c)
	plain, bold := writing(textSize, xfont.WeightNormal), writing(textSize, xfont.WeightBold)
	labelWidth, _ := p.widths()
	left := c.Min.X - wider*labelWidth
	const half = rowHeight * 0.36
	for i, b := range p.bars {
		middle := y(-float64(i))
		if b.ratio == 0 {
			c.FillText(bold, vg.Point{X: left, Y: middle}, b.label)
			continue
		}
		c.StrokeLine2(draw.LineStyle{Color: ink, Width: 0.8}, x(1), middle-rowHeight/2, x(1), middle+rowHeight/2)
		c.FillPolygon(b.colour(), []vg.Point{
			{X: x(1), Y: middle - half}, {X: x(b.ratio), Y: middle - half}, {X: x(b.ratio), Y: middle + half}, {X: x(1), Y: middle + half},
		})
		right, style := max(x(1), x(b.ratio)), plain
		if b.limit > 0 {
			right = max(right, x(b.limit))
			c.StrokeLine2(draw.LineStyle{Color: ink, Width: 1.6}, x(b.limit), middle-half-1, x(b.limit), middle+half+1)
		}
		if b.missed() {
			style = bold
			style.Color = b.colour()
		}
		c.FillText(style, vg.Point{X: right + 4, Y: middle}, b.text())
	}
}
