package demo

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// result is how a run ended.
type result struct {
	executor           string
	orders, checkedOut int
	totals
	took time.Duration
	err  error
}

func printTable(w io.Writer, results []result) error {
	var table strings.Builder
	tw := tabwriter.NewWriter(&table, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "executor\torders\tchecked out\tdispatched\trun\tdiscarded\tlost\tdoubled\tmistimed\ttime\t")
	for _, r := range results {
		fmt.Fprintf(tw, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%v\t\n", r.executor, r.orders, r.checkedOut,
			r.dispatched, r.run, r.discarded, r.lost, r.doubled, r.mistimed, r.took.Round(time.Millisecond))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprint(w, "Discarded: jobs of orders that failed. Mistimed: jobs that ran before they were due, or too late.\n", table.String())
	return err
}

// printProgress prints a line each second until done is closed.
func printProgress(w io.Writer, runs []*Run, done <-chan struct{}) {
	started := time.Now()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		line := fmt.Sprintf("%3.0fs ", time.Since(started).Seconds())
		for _, r := range runs {
			t := r.Ledger.totals(0)
			line += fmt.Sprintf(" %s %d/%d", r.name, t.run, t.dispatched)
		}
		fmt.Fprintln(w, line)
	}
}

// shared is a writer for many goroutines.
type shared struct {
	mu sync.Mutex
	w  io.Writer // guarded by mu
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

// prefixed writes lines with something before them.
type prefixed struct {
	w      io.Writer
	prefix string
}

func (p *prefixed) Write(line []byte) (int, error) {
	if _, err := fmt.Fprintf(p.w, "%s%s", p.prefix, line); err != nil {
		return 0, err
	}
	return len(line), nil
}
