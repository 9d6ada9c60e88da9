package main

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"
)

// An effort is how much is measured of a group.
type effort struct {
	limit time.Duration // about how long the rounds of a group take together; at least minRounds are run
	short bool          // one round of little work: it shows that everything runs, and nothing else
}

const (
	minRounds = 3
	maxRounds = 200
	warmUp    = 10 // a tenth of the time warms up, and at least one round

	allocIntents = 100 // whose allocations are counted, at least

	loopSize = 1000 // intents that a loop over single calls sends, at most

	shortSize = 100 // intents for each call, at most
	shortJobs = 20
)

// share returns the effort of one of n parts of a group.
func (e effort) share(n int) effort { e.limit /= time.Duration(n); return e }

// sizes returns which of a group's sizes are measured.
func (e effort) sizes(all []int) []int {
	if !e.short {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), func(n int) bool { return n > shortSize })
}

func (e effort) jobs(load workload) int {
	if e.short {
		return max(shortJobs, load.slots)
	}
	return load.jobs
}

func (e effort) probes() int {
	if e.short {
		return 1
	}
	return latencyProbes
}

// interleave runs every contender once in each round, in an order of its own. do is told
// whether the round counts: the first ones warm up.
func interleave(ctx context.Context, contenders int, e effort, do func(i int, warm bool) error) error {
	round := func(warm bool) error {
		for _, i := range rand.Perm(contenders) {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := do(i, warm); err != nil {
				return err
			}
		}
		return nil
	}
	if e.short {
		return round(true)
	}
	began := time.Now()
	for n := 0; n == 0 || n < maxRounds/warmUp && time.Since(began) < e.limit/warmUp; n++ {
		if err := round(false); err != nil {
			return err
		}
	}
	for n := 0; n < minRounds || n < maxRounds && time.Since(began) < e.limit; n++ {
		if err := round(true); err != nil {
			return err
		}
	}
	return nil
}
