package workexec

import (
	"time"

	"github.com/goairlock/airlock/core"
)

const (
	// maxPayload keeps a message, whose control characters become six bytes each,
	// below the 512 MiB of a Redis string.
	maxPayload = 32 << 20

	// maxAttempts is more than the library's own count is ever used for.
	maxAttempts = 1 << 30
)

func capabilities(window time.Duration, lanes, plain bool) core.Capabilities {
	emulated := func(granularity time.Duration, reason string) core.Claim {
		return core.Claim{Support: core.SupportEmulated, Granularity: granularity, Reason: reason}
	}
	attempts := emulated(0, "another handler keeps the MaxFails of its name")
	attempts.Most = maxAttempts
	caps := core.Capabilities{
		Executor: name,
		Options: map[core.OptionName]core.Claim{
			core.OptionQueue:       {Support: core.SupportNative},
			core.OptionPriority:    {Reason: "only workers that know the lanes look there: set Options.Lanes and WorkerOptions.Lanes"},
			core.OptionDelay:       {Support: core.SupportNative, Granularity: time.Second},
			core.OptionMaxAttempts: attempts,
			core.OptionBackoff:     emulated(time.Second, "another handler has the schedule of its name"),
			core.OptionTimeout:     emulated(time.Nanosecond, "another handler has no context that could end"),
			core.OptionDeadline:    emulated(time.Nanosecond, "another handler is called after the deadline too"),
			core.OptionID:          {Support: core.SupportNative},
			core.OptionUnique: emulated(0, "another worker does not release the key: the next dispatch finds it free, "+
				"unless 10000 jobs are in the way, and after 7 days"),
			core.OptionHeader: emulated(0, "another handler finds them in the job's argument "+envelopeKey),
		},
		Delivery:        core.GuaranteeAtLeastOnce,
		Durability:      core.DurabilityBroker,
		Order:           "", // a worker chooses among the tasks at random
		AtomicBatch:     true,
		IDWindow:        core.Window{Kind: core.WindowFixed, For: window, PerQueue: true, Survives: core.SurvivalRestart},
		MaxPayload:      maxPayload,
		DefaultAttempts: core.DefaultMaxAttempts,
	}
	if plain {
		caps.Refuse = refuseDamaged
	}
	if lanes {
		caps.Ranking, caps.PriorityLevels = core.RankingWeighted, laneCount
		caps.Options[core.OptionPriority] = emulated(0, "only workers with WorkerOptions.Lanes look into the lanes")
	}
	return caps
}
