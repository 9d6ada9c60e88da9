package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

func newWorkerRow(name string, load workload, own, reference []workerSample) WorkerRow {
	perJob := func(s workerSample) float64 { return s.perJob }
	cpu := func(s workerSample) float64 { return s.cpu }
	drain := func(s workerSample) float64 { return s.drain }
	return WorkerRow{
		Contender: name, Slots: load.slots, Rounds: len(own), Wait: float64(load.wait),
		PerJob: median(own, perJob), Ratio: ratio(own, reference, perJob),
		CPU: median(own, cpu), CPURatio: ratio(own, reference, cpu),
		Allocs: median(own, func(s workerSample) float64 { return s.allocs }),
		Drain:  median(own, drain), DrainRatio: ratio(own, reference, drain),
	}
}

func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	values = slices.Sorted(slices.Values(values))
	return values[min(int(q*float64(len(values))), len(values)-1)]
}

// print writes the report as two tables for people.
func (r *WorkerReport) print(to io.Writer) error {
	fmt.Fprintf(to, "%s (%s)\n", r.Title, r.Environment)
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "slots\thandler\tworker\tper job\tx\tCPU per job\tx\tallocs\tdrain\tx\t")
	for _, row := range r.Rows {
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%.2f\t%s\t%.2f\t%.1f\t%s\t%.2f\t\n", row.Slots, row.handler(), row.Contender,
			nanos(row.PerJob), row.Ratio, nanos(row.CPU), row.CPURatio, row.Allocs, nanos(row.Drain), row.DrainRatio)
	}
	fmt.Fprintln(w, "\t\t\t\t\t\t\t\t\t\t")
	fmt.Fprintln(w, "\tidle queue\tworker\tstart p50\tx\tstart p99\t\t\t\t\t")
	for _, row := range r.Latencies {
		fmt.Fprintf(w, "\t\t%s\t%s\t%.2f\t%s\t\t\t\t\t\n", row.Contender, nanos(row.P50), row.Ratio, nanos(row.P99))
	}
	return w.Flush()
}

// handler says what the handler does.
func (r *WorkerRow) handler() string {
	if r.Wait == 0 {
		return "empty"
	}
	return time.Duration(r.Wait).String()
}

// workload names what the worker had to do.
func (r *WorkerRow) workload() string {
	return fmt.Sprintf("%d slots, %s handler", r.Slots, r.handler())
}
