package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"
)

// errNoServer says that a group needs a server that was not given. Unless the
// group was asked for by name, it is left out.
var errNoServer = errors.New("no server")

// Group is a set of contenders that do the same work.
type Group struct {
	Name  string // of its files, and for -only
	Title string // what is done, for people
	Sizes []int  // intents per call
	// MaxRounds bounds the rounds of a group that is slow. 0 is as many as asked for.
	MaxRounds int
	// Setup makes the contenders of a run, and what ends them.
	Setup func(ctx context.Context) ([]Contender, func(), error)
}

// Contender is one way to do a group's work.
type Contender struct {
	Name string
	// Reference marks the contender that the others are compared with.
	Reference bool
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
	Environment Environment
	Rounds      int
	Rows        []Row
}

// Environment is where it was measured.
type Environment struct {
	Go, OS, Arch string
	CPUs         int
}

// Row is one contender at one size. Times are medians over the rounds, in
// nanoseconds per intent; ratios are medians of the ratio within each round.
type Row struct {
	Contender     string
	Size          int
	HandOver      float64
	Done          float64 `json:",omitempty"` // from the begin of the hand-over to the last one's end
	HandOverRatio float64 // over the reference
	DoneRatio     float64 `json:",omitempty"`
	Allocs        float64 // per intent, of everything until the last one's end
}

type sample struct{ handOver, done float64 }

// serviceHeap is what a small service has in memory. In a program with nothing but
// a benchmark the collector runs every few megabytes, and is what is measured.
const serviceHeap = 64 << 20

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

func (g Group) measure(ctx context.Context, rounds int) (*Report, error) {
	contenders, end, err := g.Setup(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	if g.MaxRounds > 0 {
		rounds = min(rounds, g.MaxRounds)
	}
	ballast := make([]byte, serviceHeap)
	defer runtime.KeepAlive(ballast)
	touchHeap()
	reference := slices.IndexFunc(contenders, func(c Contender) bool { return c.Reference })
	if reference < 0 {
		return nil, fmt.Errorf("no contender is the reference")
	}
	report := &Report{Group: g.Name, Title: g.Title, Environment: environment(), Rounds: rounds}
	for _, size := range g.Sizes {
		samples := make([][]sample, len(contenders))
		for round := range rounds + rounds/10 + 1 {
			for _, i := range rand.Perm(len(contenders)) {
				if err := ctx.Err(); err != nil {
					return nil, err
				}
				s, err := contenders[i].sample(size)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", contenders[i].Name, err)
				}
				if round > rounds/10 { // the first ones warm up
					samples[i] = append(samples[i], s)
				}
			}
		}
		for i, c := range contenders {
			allocs, err := c.allocs(size, rounds/10+1)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.Name, err)
			}
			report.Rows = append(report.Rows, newRow(c.Name, size, samples[i], samples[reference], allocs))
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
func (c *Contender) allocs(n, rounds int) (float64, error) {
	var counts []float64
	for range rounds {
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

func newRow(name string, size int, own, reference []sample, allocs float64) Row {
	handOver := func(s sample) float64 { return s.handOver }
	done := func(s sample) float64 { return s.done }
	return Row{
		Contender: name, Size: size,
		HandOver: median(own, handOver), Done: median(own, done),
		HandOverRatio: ratio(own, reference, handOver), DoneRatio: ratio(own, reference, done),
		Allocs: allocs,
	}
}

func median(samples []sample, of func(sample) float64) float64 {
	values := make([]float64, 0, len(samples))
	for _, s := range samples {
		values = append(values, of(s))
	}
	return medianOf(values)
}

// ratio is the median of the ratio within each round.
func ratio(own, reference []sample, of func(sample) float64) float64 {
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
