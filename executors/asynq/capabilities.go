package asynqexec

import (
	"math"
	"time"

	"github.com/goairlock/airlock/core"
)

// maxPayload leaves room for the rest of a message in a Redis string of 512 MiB,
// beyond which Redis closes the connection (proto-max-bulk-len).
const maxPayload = 512<<20 - 128<<10

func capabilities(window time.Duration, lanes bool) core.Capabilities {
	native := core.Claim{Support: core.Native}
	caps := core.Capabilities{
		Executor: name,
		Options: map[core.OptionName]core.Claim{
			core.OptionQueue:    native,
			core.OptionPriority: {Reason: "a server works only the queues that it lists: list the lanes, and set Options.Lanes"},
			core.OptionDelay:    {Support: core.Native, Granularity: time.Second},
			core.OptionMaxAttempts: {
				Support: core.Native, Most: math.MaxInt32, // an int32 in the message
			},
			core.OptionBackoff: {
				Support: core.Emulated, Granularity: time.Second,
				Reason: "a server that Configure has not seen keeps its own schedule",
			},
			core.OptionTimeout: {Support: core.Native, Granularity: time.Second},
			core.OptionDeadline: {
				Support: core.Emulated, Granularity: time.Nanosecond,
				Reason: "another handler is called after the deadline too",
			},
			core.OptionID:     native,
			core.OptionUnique: native,
			core.OptionHeader: native,
			core.OptionNative: native,
		},
		Delivery:        core.AtLeastOnce,
		Durability:      core.InBroker,
		Order:           core.FIFO,
		Batch:           core.PartialBatch,
		IDWindow:        core.Window{Kind: core.StoredWindow, For: window, Survives: core.SurvivesRestart},
		MaxPayload:      maxPayload,
		DefaultAttempts: 26,
		Refuse:          refuseNative,
	}
	if window == 0 {
		caps.IDWindow.Kind = core.UnfinishedWindow
	}
	if lanes {
		caps.Ranking, caps.PriorityLevels = core.Weighted, laneCount
		caps.Options[core.OptionPriority] = core.Claim{
			Support: core.Emulated,
			Reason:  "a lane is worked by the servers that list it; strictly with Config.StrictPriority",
		}
	}
	return caps
}
