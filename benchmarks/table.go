package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// print writes the report as a table for people.
func (r *Report) print(to io.Writer) error {
	fmt.Fprintf(to, "%s (%s)\n", r.Title, r.Environment)
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "N\tcontender\thand-over\tx\tto done\tx\tallocs\t")
	size := 0
	for _, row := range r.Rows {
		if size != 0 && row.Size != size {
			fmt.Fprintln(w, "\t\t\t\t\t\t\t")
		}
		size = row.Size
		done, doneRatio := "", ""
		if row.Done > 0 {
			done, doneRatio = nanos(row.Done), fmt.Sprintf("%.2f", row.DoneRatio[r.Reference])
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%.2f\t%s\t%s\t%.2f\t\n",
			row.Size, row.Contender, nanos(row.HandOver), row.HandOverRatio[r.Reference], done, doneRatio, row.Allocs)
	}
	return w.Flush()
}

// nanos writes nanoseconds per intent with three digits.
func nanos(ns float64) string {
	switch {
	case ns < 1e3:
		return fmt.Sprintf("%.3g ns", ns)
	case ns < 1e6:
		return fmt.Sprintf("%.3g µs", ns/1e3)
	}
	return fmt.Sprintf("%.3g ms", ns/1e6)
}

// isOurs reports whether a contender is one of ours.
func isOurs(contender string) bool { return strings.HasPrefix(contender, "airlock") }
