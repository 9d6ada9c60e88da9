package workexec

import (
	"time"

	"github.com/goairlock/airlock/core"
)

// maxPayload keeps a message, whose control characters become six bytes each,
// below the 512 MiB of a Redis string.
const maxPayload = 32 << 20

func capabilities(window time.Duration, lanes, plain bool) core.Capabilities {
	emulated := func(granularity time.Duration, reason string) core.Claim {
		return core.Claim{Support: core.Emulated, Granularity: granularity, Reason: reason}
	}
	attempts := emulated(0, "a handler of its own keeps the MaxFails of its name")
	attempts.Most = maxFails
	caps := core.Capabilities{
		Executor: name,
		Options: map[core.OptionName]core.Claim{
			core.OptionQueue:       {Support: core.Native},
			core.OptionPriority:    {Reason: "only a worker that knows the lanes works them: register with lanes, and set Options.Lanes"},
			core.OptionDelay:       {Support: core.Native, Granularity: time.Second},
			core.OptionMaxAttempts: attempts,
			core.OptionBackoff:     emulated(time.Second, "another handler has the schedule of its name"),
			core.OptionTimeout:     emulated(time.Nanosecond, "another handler has no context that could end"),
			core.OptionDeadline:    emulated(time.Nanosecond, "another handler is called after the deadline too"),
			core.OptionID:          {Support: core.Native},
			core.OptionUnique: emulated(0, "another worker does not release the key: it is found free at the next dispatch, "+
				"unless 10000 jobs are in the way, and after 7 days"),
			core.OptionHeader: emulated(0, "another handler finds them in the job's argument "+envelopeKey),
		},
		Delivery:        core.AtLeastOnce,
		Durability:      core.InBroker,
		Order:           core.Unordered, // a worker chooses among the tasks by lot
		Batch:           core.AtomicBatch,
		IDWindow:        core.Window{Kind: core.FixedWindow, For: window, Survives: core.SurvivesRestart},
		MaxPayload:      maxPayload,
		DefaultAttempts: defaultAttempts,
	}
	if plain {
		caps.Refuse = refuseDamaged
	}
	if lanes {
		caps.Ranking, caps.PriorityLevels = core.Weighted, laneCount
		caps.Options[core.OptionPriority] = emulated(0, "a lane is worked by workers that are registered with lanes")
	}
	return caps
}
