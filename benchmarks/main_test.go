package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// Every group runs and leaves files that can be read. No time is judged.
func TestEveryGroupRuns(t *testing.T) {
	for _, make := range groups {
		g := make()
		t.Run(g.Name, func(t *testing.T) {
			out := t.TempDir()
			err := run(t.Context(), []string{"-only", g.Name, "-rounds", "1", "-out", out})
			if errors.Is(err, errNoServer) {
				t.Skipf("a group that needs a server: %v", err)
			}
			if err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(filepath.Join(out, g.Name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			var r Report
			if err := json.Unmarshal(data, &r); err != nil || len(r.Rows) == 0 {
				t.Errorf("%d rows, %v", len(r.Rows), err)
			}
			for _, row := range r.Rows {
				if row.HandOver <= 0 || row.HandOverRatio <= 0 {
					t.Errorf("not measured: %+v", row)
				}
			}
			chart, err := os.ReadFile(filepath.Join(out, g.Name+".svg"))
			if err != nil {
				t.Fatal(err)
			}
			if err := xml.Unmarshal(chart, new(struct{})); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAnUnknownGroupIsAnError(t *testing.T) {
	if err := run(t.Context(), []string{"-only", "nosuch", "-out", t.TempDir()}); err == nil {
		t.Error("want an error")
	}
}
