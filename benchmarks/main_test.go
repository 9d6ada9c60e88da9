package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"html"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// embedded are the groups that need nothing but Go.
var embedded = []string{"pool", "river-sqlite", "nats", "worker-nats"}

// Every group runs, leaves a file with all fields, and is drawn. No time is judged.
func TestEveryEmbeddedGroupRuns(t *testing.T) {
	for _, g := range all() {
		if slices.Contains(embedded, g.name()) {
			t.Run(g.name(), func(t *testing.T) { t.Parallel(); testGroup(t, g) })
		}
	}
}

func testGroup(t *testing.T, g measurable) {
	results, docs := t.TempDir(), t.TempDir()
	if err := run(t.Context(), []string{"-short", "-only", g.name(), "-results", results}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(results, g.name()+".json"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := g.read(data)
	if err != nil {
		t.Fatal(err)
	}
	wantComplete(t, r)
	if err := run(t.Context(), []string{"-draw", docs, "-results", results}); err != nil {
		t.Fatal(err)
	}
	wantDrawn(t, docs, g.queue(), r)
}

// wantComplete checks that everything was measured and that the environment is known.
func wantComplete(t *testing.T, r report) {
	t.Helper()
	wantNoZero(t, r.environment(), "Servers", "Libraries")
	switch r := r.(type) {
	case *Report:
		wantNoZero(t, *r)
		for _, row := range r.Rows {
			wantNoZero(t, row, "Done", "DoneRatio", "Allocs") // not all wait, and a pool may need no memory
			for other, ratio := range row.HandOverRatio {
				if ratio <= 0 || row.Done > 0 && row.DoneRatio[other] <= 0 {
					t.Errorf("no ratio over %s: %+v", other, row)
				}
			}
		}
		if r.row(r.Reference, r.Rows[0].Size).HandOverRatio[r.Reference] != 1 {
			t.Errorf("the reference, %s, is not as fast as itself", r.Reference)
		}
	case *WorkerReport:
		wantNoZero(t, *r)
		if len(r.Rows) != 2*len(workloads) || len(r.Latencies) != 2 {
			t.Errorf("%d rows and %d latencies", len(r.Rows), len(r.Latencies))
		}
		for _, row := range r.Rows {
			wantNoZero(t, row, "Wait", "CPU", "CPURatio") // the clock of the CPU time is coarse
		}
		for _, row := range r.Latencies {
			wantNoZero(t, row)
		}
	}
	for name, version := range r.environment().Libraries {
		if version == "" {
			t.Errorf("no version of %s", name)
		}
	}
	for name, version := range r.environment().Servers {
		if version == "" || version == "<nil>" {
			t.Errorf("no version of %s", name)
		}
	}
}

func wantNoZero(t *testing.T, of any, except ...string) {
	t.Helper()
	v := reflect.ValueOf(of)
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; !slices.Contains(except, name) && v.Field(i).IsZero() {
			t.Errorf("%s is not in %+v", name, of)
		}
	}
}

// wantDrawn checks that a report is in the page and in the picture of its queue.
func wantDrawn(t *testing.T, docs, queue string, r report) {
	t.Helper()
	page := readFile(t, filepath.Join(docs, "benchmarks.md"))
	picture := readFile(t, filepath.Join(docs, "images", "benchmarks-"+queue+".svg"))
	wantXML(t, picture)
	wantXML(t, readFile(t, filepath.Join(docs, "images", "benchmarks.svg")))
	bars, title := r.details()
	if !bytes.Contains(page, []byte(r.environment().String())) {
		t.Error("the page does not say where it was measured")
	}
	texts := []string{title}
	for _, b := range append(bars, comparisonBars(r.comparisons())...) {
		texts = append(texts, b.label)
	}
	for _, text := range texts {
		if !bytes.Contains(picture, []byte(">"+html.EscapeString(text)+"<")) {
			t.Errorf("%q is not in the picture", text)
		}
	}
	for _, c := range r.comparisons() {
		if value, _, _ := c.texts(); !bytes.Contains(page, []byte(" | "+value+" | ")) {
			t.Errorf("%s %s is not on the page: %s", c.Title, c.Label, value)
		}
	}
}

func wantXML(t *testing.T, data []byte) {
	t.Helper()
	for d := xml.NewDecoder(bytes.NewReader(data)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A row beyond its target is marked with a word in the picture and on the page, and one
// within is not.
func TestAMissedTargetIsMarked(t *testing.T) {
	row := func(ratio float64) Report {
		const limit = "pipelines of the same commands"
		return Report{Group: "asynq", Title: "asynq", Reference: limit, Rows: []Row{
			{Contender: "airlock", Size: 100, Rounds: 3, HandOver: ratio, HandOverRatio: map[string]float64{limit: ratio}},
			{Contender: limit, Size: 100, Rounds: 3, HandOver: 1, HandOverRatio: map[string]float64{limit: 1}},
		}}
	}
	for _, test := range []struct {
		ratio      float64
		text, word string
		missed     bool
	}{
		{1.25, "1.25 ≤ 1.25", "met", false},
		{1.254, "1.25 ≤ 1.25", "met", false}, // as it is written
		{1.26, "1.26 &gt; 1.25, missed", "**missed**", true},
		{9, "9.00 &gt; 1.25, missed", "**missed**", true},
	} {
		results, docs := t.TempDir(), t.TempDir()
		data, err := json.Marshal(row(test.ratio))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(results, "asynq.json"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := run(t.Context(), []string{"-draw", docs, "-results", results}); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"benchmarks.svg", "benchmarks-asynq.svg"} {
			svg := string(readFile(t, filepath.Join(docs, "images", name)))
			if !strings.Contains(svg, ">"+test.text+"<") || strings.Contains(svg, ", missed") != test.missed || strings.Contains(svg, "fill:#C02828") != test.missed {
				t.Errorf("%v is not drawn in %s as %s", test.ratio, name, test.text)
			}
		}
		if page := string(readFile(t, filepath.Join(docs, "benchmarks.md"))); !strings.Contains(page, "| "+test.word+" |") {
			t.Errorf("%v is not on the page as %s", test.ratio, test.word)
		}
	}
}

// Every contender that a target names exists, and every group has been measured.
func TestEveryTargetHasResults(t *testing.T) {
	chapters, err := readResults("results")
	if err != nil {
		t.Fatal(err)
	}
	var compared []comparison
	groups := 0
	for _, c := range chapters {
		for _, r := range c.reports {
			groups++
			wantComplete(t, r)
			compared = append(compared, r.comparisons()...)
		}
	}
	if want := len(all()); groups != want {
		t.Errorf("results of %d groups, want %d: run make bench-report", groups, want)
	}
	for _, target := range targets {
		i := slices.IndexFunc(compared, func(c comparison) bool { return reflect.DeepEqual(c.target, target) })
		if i < 0 || compared[i].Own <= 0 || compared[i].Other <= 0 || compared[i].Value == 0 {
			t.Errorf("nothing was measured of %+v", target)
		}
	}
}

// The stored page and pictures are what the stored results give.
func TestDocumentsAreUpToDate(t *testing.T) {
	docs := t.TempDir()
	if err := run(t.Context(), []string{"-draw", docs, "-results", "results"}); err != nil {
		t.Fatal(err)
	}
	files := func(root string) []string {
		list, err := filepath.Glob(filepath.Join(root, "images", "benchmarks*.svg"))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, filepath.Join(root, "benchmarks.md"))
		for i := range list {
			list[i] = strings.TrimPrefix(list[i], root)
		}
		return list
	}
	stored := filepath.Join("..", "docs")
	if got, want := files(stored), files(docs); !slices.Equal(got, want) {
		t.Fatalf("stored are %v, want %v: run make bench-draw", got, want)
	}
	for _, name := range files(docs) {
		if !bytes.Equal(readFile(t, stored+name), readFile(t, docs+name)) {
			t.Errorf("%s differs from the results: run make bench-draw", name)
		}
	}
}

func TestAnUnknownGroupIsAnError(t *testing.T) {
	if err := run(t.Context(), []string{"-only", "nosuch", "-results", t.TempDir()}); err == nil {
		t.Error("want an error")
	}
}
