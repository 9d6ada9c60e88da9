package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"
)

// Group is a set of contenders that do the same work.
type Group struct {
	Name      string   // of its file, and for -only
	Queue     string   // whose picture and chapter it is in
	Title     string   // what is done, for people
	Libraries []string // modules whose versions matter
	Sizes     []int    // intents per call
	// Setup makes the contenders of a run, with the servers of a world. What ends them is
	// among the world's cleanups.
	Setup func(ctx context.Context, w *world) ([]Contender, error)
}

// Contender is one way to do a group's work.
type Contender struct {
	Name string
	// Reference marks the contender that the others are compared with.
	Reference bool
	// MaxSize bounds the sizes of a contender that sends one job after the other: more take
	// minutes, and as long for each job. 0 is no bound.
	MaxSize int
	// Prepare makes ready for n intents; it is not timed. May be nil.
	Prepare func(n int) error
	// HandOver hands n intents over.
	HandOver func(n int) error
	// Wait returns once they are done. Nil if nobody here does them.
	Wait func() error
}

// Report is what was measured of a group.
type Report struct {
	Group       string
	Title       string
	Reference   string // the contender that the others are compared with
	Environment Environment
	Rows        []Row
}

// Row is one contender at one size. Times are medians over the rounds, in
// nanoseconds per intent. A ratio is the median of the ratio within each round.
type Row struct {
	Contender     string
	Size          int
	Rounds        int
	HandOver      float64
	Done          float64            `json:",omitempty"` // from the begin of the hand-over to the last one's end
	HandOverRatio map[string]float64 // over each contender
	DoneRatio     map[string]float64 `json:",omitempty"`
	Allocs        float64            // per intent, of everything until the last one's end
}

type sample struct{ handOver, done float64 }

// serviceHeap is what a small service has in memory. In a program with nothing but
// a benchmark the collector runs every few megabytes, and is what is measured.
const serviceHeap = 64 << 20

// warmHeap makes the heap that of a service, until keep is called.
func warmHeap() (keep func()) {
	ballast := make([]byte, serviceHeap)
	touchHeap()
	return func() { runtime.KeepAlive(ballast) }
}

// referenceOf returns which of n contenders the others are compared with.
func referenceOf(n int, is func(i int) bool) (int, error) {
	for i := range n {
		if is(i) {
			return i, nil
		}
	}
	return 0, errors.New("no contender is the reference")
}

// touchHeap has the system give the memory that will be used until the collector
// runs. A service that has been up for a minute has it; in a new process the
// first touch of each page costs more than what is measured.
func touchHeap() {
	const page = 4 << 10
	var garbage [][]byte
	for range serviceHeap / page {
		p := make([]byte, page)
		p[0] = 1
		garbage = append(garbage, p)
	}
	runtime.KeepAlive(garbage)
	garbage = nil
	runtime.GC()
}

func (g Group) name() string  { return g.Name }
func (g Group) queue() string { return g.Queue }

func (g Group) measure(ctx context.Context, e effort) (report, error) {
	w := newWorld()
	defer w.close()
	contenders, err := g.Setup(ctx, w)
	if err != nil {
		return nil, err
	}
	keep := warmHeap()
	defer keep()
	reference, err := referenceOf(len(contenders), func(i int) bool { return contenders[i].Reference })
	if err != nil {
		return nil, err
	}
	report := &Report{Group: g.Name, Title: g.Title, Reference: contenders[reference].Name, Environment: w.environment(g.Libraries)}
	sizes := e.sizes(g.Sizes)
	for _, size := range sizes {
		contenders := slices.DeleteFunc(slices.Clone(contenders), func(c Contender) bool { return c.MaxSize > 0 && size > c.MaxSize })
		samples := make([][]sample, len(contenders))
		err := interleave(ctx, len(contenders), e.share(len(sizes)), func(i int, warm bool) error {
			s, err := contenders[i].sample(size)
			if err != nil {
				return fmt.Errorf("%s: %w", contenders[i].Name, err)
			}
			if warm {
				samples[i] = append(samples[i], s)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		for i, c := range contenders {
			row := newRow(contenders, i, samples)
			row.Size = size
			if row.Allocs, err = c.allocs(size); err != nil {
				return nil, fmt.Errorf("%s: %w", c.Name, err)
			}
			report.Rows = append(report.Rows, row)
		}
	}
	return report, nil
}

func (c *Contender) prepare(n int) error {
	if c.Prepare == nil {
		return nil
	}
	return c.Prepare(n)
}

// run times a contender that is prepared.
func (c *Contender) run(n int) (sample, error) {
	start := time.Now()
	if err := c.HandOver(n); err != nil {
		return sample{}, err
	}
	handedOver := time.Since(start)
	var done time.Duration
	if c.Wait != nil {
		if err := c.Wait(); err != nil {
			return sample{}, err
		}
		done = time.Since(start)
	}
	per := func(d time.Duration) float64 { return float64(d) / float64(n) }
	return sample{per(handedOver), per(done)}, nil
}

// sample runs a contender once.
func (c *Contender) sample(n int) (sample, error) {
	if err := c.prepare(n); err != nil {
		return sample{}, err
	}
	return c.run(n)
}

// allocs returns a contender's allocations per intent. It has rounds of its own:
// to read the counters stops the world, and what runs next starts slowly.
func (c *Contender) allocs(n int) (float64, error) {
	var counts []float64
	for range max(1, allocIntents/n) {
		if err := c.prepare(n); err != nil {
			return 0, err
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := c.run(n); err != nil {
			return 0, err
		}
		runtime.ReadMemStats(&after)
		counts = append(counts, float64(after.Mallocs-before.Mallocs)/float64(n))
	}
	return medianOf(counts), nil
}

// newRow compares a contender with each of them.
func newRow(contenders []Contender, own int, samples [][]sample) Row {
	handOver := func(s sample) float64 { return s.handOver }
	done := func(s sample) float64 { return s.done }
	row := Row{
		Contender: contenders[own].Name, Rounds: len(samples[own]),
		HandOver: median(samples[own], handOver), Done: median(samples[own], done),
		HandOverRatio: map[string]float64{}, DoneRatio: map[string]float64{},
	}
	for i, c := range contenders {
		row.HandOverRatio[c.Name] = ratio(samples[own], samples[i], handOver)
		if row.Done > 0 {
			row.DoneRatio[c.Name] = ratio(samples[own], samples[i], done)
		}
	}
	return row
}

func median[S any](samples []S, of func(S) float64) float64 {
	values := make([]float64, 0, len(samples))
	for _, s := range samples {
		values = append(values, of(s))
	}
	return medianOf(values)
}

// ratio is the median of the ratio within each round.
func ratio[S any](own, reference []S, of func(S) float64) float64 {
	var values []float64
	for i := range own {
		if r := of(reference[i]); r > 0 {
			values = append(values, of(own[i])/r)
		}
	}
	return medianOf(values)
}

func medianOf(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}
