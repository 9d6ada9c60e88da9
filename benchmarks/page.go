package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// read returns what measure has written.
func (g Group) read(data []byte) (report, error) {
	r := new(Report)
	return r, json.Unmarshal(data, r)
}

func (g WorkerGroup) read(data []byte) (report, error) {
	r := new(WorkerReport)
	return r, json.Unmarshal(data, r)
}

func (r *Report) environment() Environment       { return r.Environment }
func (r *WorkerReport) environment() Environment { return r.Environment }

// A chapter is what was measured of one queue.
type chapter struct {
	queue   string
	reports []report
}

// readResults returns a chapter for each queue of which there are results, in the order
// of the groups.
func readResults(folder string) ([]chapter, error) {
	var chapters []chapter
	for _, g := range all() {
		data, err := os.ReadFile(filepath.Join(folder, g.name()+".json"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		r, err := g.read(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", g.name(), err)
		}
		i := slices.IndexFunc(chapters, func(c chapter) bool { return c.queue == g.queue() })
		if i < 0 {
			i = len(chapters)
			chapters = append(chapters, chapter{queue: g.queue()})
		}
		chapters[i].reports = append(chapters[i].reports, r)
	}
	if len(chapters) == 0 {
		return nil, fmt.Errorf("no results in %s", folder)
	}
	return chapters, nil
}

// drawResults writes benchmarks.md and its pictures from the results alone.
func drawResults(results, docs string) error {
	chapters, err := readResults(results)
	if err != nil {
		return err
	}
	images := filepath.Join(docs, "images")
	if err := os.MkdirAll(images, 0o755); err != nil {
		return err
	}
	errs := []error{
		os.WriteFile(filepath.Join(docs, "benchmarks.md"), page(chapters), 0o644),
		os.WriteFile(filepath.Join(images, "benchmarks.svg"), overview(chapters), 0o644),
	}
	for _, c := range chapters {
		errs = append(errs, os.WriteFile(filepath.Join(images, c.image()), c.picture(), 0o644))
	}
	return errors.Join(errs...)
}

func (c chapter) image() string { return "benchmarks-" + c.queue + ".svg" }

// machine says where a chapter was measured.
func machine(e Environment) string {
	return fmt.Sprintf("%s, %d cores, %s/%s, %s, %s.", e.CPU, e.CPUs, e.OS, e.Arch, e.Go, e.Date)
}

// howToRead is below the title of every picture.
const howToRead = "Time divided by the time of the contender that it is compared with; left of 1 is faster. Black mark: target. Red: missed."

// overview draws the comparisons that are not details: dispatch on the left, workers and
// what runs in the process or in the database on the right.
func overview(chapters []chapter) []byte {
	var dispatch, workers, others []bar
	for _, c := range chapters {
		for _, r := range c.reports {
			bars := comparisonBars(slices.DeleteFunc(r.comparisons(), func(c comparison) bool { return c.Detail }))
			switch _, isWorker := r.(*WorkerReport); {
			case isWorker:
				workers = append(workers, bars...)
			case c.queue == "pool" || c.queue == "outbox":
				others = append(others, bars...)
			default:
				dispatch = append(dispatch, bars...)
			}
		}
	}
	return picture("What airlock costs", []string{
		howToRead,
		"N = 1 is compared with the library's own call, and from N = 100 with the fastest known way to store the same jobs.",
		"Workers are compared with the library's own.",
		machine(chapters[0].reports[0].environment()),
	}, panels(panel{"Dispatch: N intents in one call", dispatch}), panels(panel{"Workers: time per job", workers}, panel{"In the process, and in a transaction", others}))
}

// picture draws the comparisons of one queue, and below them every contender.
func (c chapter) picture() []byte {
	var compared []bar
	var details []panel
	for _, r := range c.reports {
		compared = append(compared, comparisonBars(r.comparisons())...)
		bars, title := r.details()
		details = append(details, panel{title, bars})
	}
	return picture("What airlock costs: "+c.queue, []string{howToRead, machine(c.reports[0].environment())},
		panels(append([]panel{{"Comparisons and targets", compared}}, details...)...))
}

// panels returns those that have something to show.
func panels(all ...panel) []panel {
	return slices.DeleteFunc(all, func(p panel) bool { return len(p.bars) == 0 })
}

// comparisonBars returns a bar for each comparison that is a ratio, below headings.
func comparisonBars(list []comparison) []bar {
	var bars []bar
	heading := ""
	for _, c := range list {
		if c.What == allocs {
			continue
		}
		if c.Title != heading {
			heading = c.Title
			bars = append(bars, bar{label: heading})
		}
		bars = append(bars, bar{label: c.Label, ratio: c.Value, limit: c.Max, ours: true})
	}
	return bars
}

// details returns a bar for each contender and size.
func (r *Report) details() (bars []bar, title string) {
	size := 0
	for _, row := range r.Rows {
		if row.Size != size {
			size = row.Size
			bars = append(bars, bar{label: fmt.Sprintf("N = %d", size)})
		}
		bars = append(bars, bar{label: row.Contender, ratio: row.HandOverRatio[r.Reference], ours: isOurs(row.Contender)})
		if row.Done > 0 {
			bars = append(bars, bar{label: "until done", ratio: row.DoneRatio[r.Reference], ours: isOurs(row.Contender)})
		}
	}
	return bars, fmt.Sprintf("%s. Over: %s", r.Title, r.Reference)
}

// details returns what else was measured of our worker.
func (r *WorkerReport) details() (bars []bar, title string) {
	for _, row := range r.Rows {
		if isOurs(row.Contender) {
			bars = append(bars, bar{label: row.workload()},
				bar{label: "CPU time per job", ratio: row.CPURatio, ours: true},
				bar{label: "drain", ratio: row.DrainRatio, ours: true})
		}
	}
	for _, row := range r.Latencies {
		if isOurs(row.Contender) {
			bars = append(bars, bar{label: "idle queue"}, bar{label: "start latency, p50", ratio: row.Ratio, ours: true})
		}
	}
	return bars, fmt.Sprintf("%s. Over: %s", r.Title, r.Reference)
}

// page returns the document with all tables.
func page(chapters []chapter) []byte {
	var b bytes.Buffer
	b.WriteString(`# Benchmarks

Written by ` + "`make bench-report`" + ` from [the results](../benchmarks/results).

Absolute times vary from machine to machine and from run to run. The ratio of two
contenders in the same round varies far less. So each round runs every contender once,
in a random order, and a ratio here is the median, over all rounds, of the ratio within
the round. One call with one intent is compared with the library's own call, since that
is what a program would write instead. Larger calls are compared with the limit: the
fastest known way to store the same jobs. Workers are compared with the library's own,
or with a loop over the client where it has none, with the same jobs and handlers. The
servers run on the same machine and share its cores. PostgreSQL does not sync to the
disk, as the time of that is the same for all and would hide the rest.

Where each target comes from is in the tables, and all of them are in
[target.go](../benchmarks/target.go). A target that is missed is marked in the tables and
in the pictures. The tables in plain text have every contender: x is its time divided by
that of the contender whose x is 1.00.

![Every comparison with a target](images/benchmarks.svg)
`)
	for _, c := range chapters {
		fmt.Fprintf(&b, "\n## %s\n\n", c.queue)
		c.writeTable(&b)
		fmt.Fprintf(&b, "\n![%s](images/%s)\n\n", c.queue, c.image())
		for _, r := range c.reports {
			var table bytes.Buffer
			r.print(&table) //nolint:errcheck // a buffer takes everything
			fmt.Fprintf(&b, "```text\n%s\n", machine(r.environment()))
			for line := range bytes.Lines(table.Bytes()) {
				b.Write(append(bytes.TrimRight(line, " \n"), '\n'))
			}
			b.WriteString("```\n\n")
		}
		b.Truncate(b.Len() - 1) // one blank line before the next heading
	}
	return b.Bytes()
}

// writeTable writes the comparisons of a queue.
func (c chapter) writeTable(b *bytes.Buffer) {
	b.WriteString("| what | how much | ours | compared with | theirs | ratio, or more | target | met? |\n|---|---|---|---|---|---|---|---|\n")
	for _, r := range c.reports {
		for _, c := range r.comparisons() {
			own, other := nanos(c.Own), nanos(c.Other)
			if c.What == allocs {
				own, other = fmt.Sprintf("%.1f", c.Own), fmt.Sprintf("%.1f", c.Other)
			}
			value, limit, verdict := c.texts()
			fmt.Fprintf(b, "| %s, %s | %s | %s | %s | %s | %s | %s | %s |\n", c.Title, c.What, c.Label, own, c.Over, other, value, limit, verdict)
		}
	}
}
