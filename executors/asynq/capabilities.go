package asynqexec

import (
	"math"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

// maxPayload leaves room for the rest of a message in a Redis string of 512 MiB,
// beyond which Redis closes the connection (proto-max-bulk-len).
const maxPayload = 512<<20 - 128<<10

// capabilities are what an executor does with each option. A window of 0 ends
// when the job has succeeded.
func capabilities(window time.Duration, lanes bool, names adapter.QueueNames) core.Capabilities {
	native := core.Claim{Support: core.SupportNative}
	caps := core.Capabilities{
		Executor: name,
		Options: map[core.OptionName]core.Claim{
			core.OptionQueue:    native,
			core.OptionPriority: {Reason: "a worker works only the queues that it lists: set Lanes in Options and WorkerOptions"},
			core.OptionDelay:    {Support: core.SupportNative, Granularity: time.Second},
			core.OptionMaxAttempts: {
				Support: core.SupportEmulated, Most: math.MaxInt32, // an int32 in the message
				Reason: "a native worker runs the job once more",
			},
			core.OptionBackoff: {
				Support: core.SupportEmulated, Granularity: time.Second,
				Reason: "a server without ConfigureServer keeps its own schedule",
			},
			core.OptionTimeout: {
				Support: core.SupportEmulated, Granularity: time.Nanosecond,
				Reason: "a native handler has no time limit: asynq's own takes the job away while the handler still runs",
			},
			core.OptionDeadline: {
				Support: core.SupportEmulated, Granularity: time.Nanosecond,
				Reason: "a native handler is called after the deadline too",
			},
			core.OptionID:     native,
			core.OptionUnique: native,
			core.OptionHeader: native,
			core.OptionNative: native,
		},
		Delivery:        core.GuaranteeAtLeastOnce,
		Durability:      core.DurabilityBroker,
		Order:           core.OrderFIFO,
		IDWindow:        core.Window{Kind: core.WindowStored, For: window, PerQueue: true, Survives: core.SurvivalRestart},
		MaxPayload:      maxPayload,
		DefaultAttempts: core.DefaultMaxAttempts,
		Refuse: func(in core.Intent) error {
			if err := names.Refuse(&in); err != nil {
				return err
			}
			return refuseNative(&in)
		},
	}
	if window == 0 {
		caps.IDWindow.Kind = core.WindowUnfinished
	}
	if lanes {
		caps.Ranking, caps.PriorityLevels = core.RankingWeighted, laneCount
		caps.Options[core.OptionPriority] = core.Claim{
			Support: core.SupportEmulated,
			Reason:  "a lane is worked by the servers that list it; strictly with Config.StrictPriority",
		}
	}
	return caps
}
