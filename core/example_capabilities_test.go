package core_test

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/goairlock/airlock/core"
)

// A claim has the limits of an option. A producer can look before it asks for more.
func ExampleClaim() {
	delay := core.Claim{Support: core.SupportNative, Granularity: time.Second, Longest: 15 * time.Minute}
	keep := func(d time.Duration) string {
		if delay.Longest > 0 && d > delay.Longest {
			return "in a table of our own"
		}
		return "in the queue"
	}
	fmt.Println(keep(time.Minute))
	fmt.Println(keep(time.Hour))
	// Output:
	// in the queue
	// in a table of our own
}

// A payment must not end with the process that took it.
func ExampleDurability() {
	check := func(caps core.Capabilities) error {
		if caps.Durability != core.DurabilityBroker {
			return fmt.Errorf("%s keeps jobs in its %s", caps.Executor, caps.Durability)
		}
		return nil
	}
	fmt.Println(check(core.Capabilities{Executor: "pool", Durability: core.DurabilityProcess}))
	fmt.Println(check(core.Capabilities{Executor: "river", Durability: core.DurabilityBroker}))
	// Output:
	// pool keeps jobs in its process
	// <nil>
}

// At least once means that a handler may run twice.
func ExampleGuarantee() {
	advice := func(g core.Guarantee) string {
		if g == core.GuaranteeAtLeastOnce {
			return "pass the job's ID on as an idempotency key"
		}
		return "find lost jobs with a report"
	}
	fmt.Println(advice(core.GuaranteeAtLeastOnce))
	fmt.Println(advice(core.GuaranteeAtMostOnce))
	// Output:
	// pass the job's ID on as an idempotency key
	// find lost jobs with a report
}

// The error names the option, so that a program can go on without it.
func ExampleOptionError() {
	caps := core.Capabilities{Executor: "small", Options: map[core.OptionName]core.Claim{
		core.OptionQueue: {Support: core.SupportNative}, core.OptionMaxAttempts: {Support: core.SupportNative},
		core.OptionPriority: {Reason: "there is one lane"},
	}}
	in, _ := SendReceipt.Intent(Receipt{Order: 7}, core.Priority(9))
	err := caps.Check(in)
	var refused *core.OptionError
	if errors.As(err, &refused) {
		fmt.Printf("%s: %s (%s)\n", refused.Executor, refused.Option, refused.Reason)
	}
	fmt.Println(errors.Is(err, core.ErrUnsupported))
	// Output:
	// small: priority (there is one lane)
	// true
}

// A test that reads the jobs of one worker back, with or without an order.
func ExampleOrder() {
	same := func(caps core.Capabilities, sent, got []int) bool {
		if caps.Order != core.OrderFIFO {
			slices.Sort(got)
		}
		return slices.Equal(sent, got)
	}
	fmt.Println(same(core.Capabilities{Order: core.OrderFIFO}, []int{1, 2, 3}, []int{2, 1, 3}))
	fmt.Println(same(core.Capabilities{}, []int{1, 2, 3}, []int{2, 1, 3}))
	// Output:
	// false
	// true
}

// With strict priorities, urgent jobs can keep all others waiting.
func ExampleRanking() {
	warn := func(caps core.Capabilities) string {
		switch caps.Ranking {
		case core.RankingStrict:
			return "urgent jobs go first; watch the age of the others"
		case core.RankingWeighted:
			return fmt.Sprintf("%d shares: every job gets its turn", caps.PriorityLevels)
		}
		return "priorities are not kept: use a queue for urgent jobs"
	}
	fmt.Println(warn(core.Capabilities{Ranking: core.RankingStrict, PriorityLevels: 10}))
	fmt.Println(warn(core.Capabilities{Ranking: core.RankingWeighted, PriorityLevels: 3}))
	fmt.Println(warn(core.Capabilities{}))
	// Output:
	// urgent jobs go first; watch the age of the others
	// 3 shares: every job gets its turn
	// priorities are not kept: use a queue for urgent jobs
}

// An emulated option holds only with airlock's worker.
func ExampleSupport() {
	holds := func(c core.Claim, ownWorker bool) bool {
		switch c.Support {
		case core.SupportNative, core.SupportNotApplicable:
			return true
		case core.SupportEmulated:
			return ownWorker
		case core.SupportRefused:
		}
		return false
	}
	timeout := core.Claim{Support: core.SupportEmulated, Reason: "other workers set no limit"}
	fmt.Println("airlock's worker:", holds(timeout, true))
	fmt.Println("another worker:", holds(timeout, false))
	fmt.Println("an option without a claim:", holds(core.Claim{}, true))
	// Output:
	// airlock's worker: true
	// another worker: false
	// an option without a claim: false
}

// After a restart of the broker, is it safe to send again what may have been sent?
func ExampleSurvival() {
	safe := func(w core.Window) bool { return w.Kind != "" && w.Survives == core.SurvivalRestart }
	fmt.Println(safe(core.Window{Kind: core.WindowStored, Survives: core.SurvivalRestart}))
	fmt.Println(safe(core.Window{Kind: core.WindowFixed, For: time.Minute, Survives: core.SurvivalReconnect}))
	// Output:
	// true
	// false
}

// How long a program may wait before it sends an intent again.
func ExampleWindow() {
	stream := core.Window{Kind: core.WindowFixed, For: 2 * time.Minute, Survives: core.SurvivalRestart}
	again := func(w core.Window, after time.Duration) bool {
		return w.Kind == core.WindowFixed && after < w.For
	}
	fmt.Println(again(stream, time.Minute))
	fmt.Println(again(stream, time.Hour)) // could become a second job
	// Output:
	// true
	// false
}

// The second of two equal intents is found until its window ends.
func ExampleWindowKind() {
	until := func(w core.Window) string {
		switch w.Kind {
		case core.WindowUnfinished:
			return "until the job has finished"
		case core.WindowStored:
			return "while the queue keeps the job's record"
		case core.WindowFixed:
			return fmt.Sprintf("for %v", w.For)
		}
		return "never"
	}
	fmt.Println(until(core.Window{Kind: core.WindowUnfinished}))
	fmt.Println(until(core.Window{Kind: core.WindowFixed, For: time.Hour}))
	fmt.Println(until(core.Window{}))
	// Output:
	// until the job has finished
	// for 1h0m0s
	// never
}
