package riverexec

import (
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

const (
	name         = "river"
	mostAttempts = 1<<15 - 1 // a smallint; River cuts off what is more

	// maxPayload stays below what jsonb can hold, 255 MiB, and a call's messages
	// below 1 GiB.
	maxPayload = 128 << 20
)

func capabilities(opts Options, queues adapter.QueueNames, db database) core.Capabilities {
	window := core.Window{Kind: core.WindowStored, Survives: core.SurvivalRestart}
	if opts.NoIdentity {
		window = core.Window{}
	}
	native := core.Claim{Support: core.SupportNative}
	return core.Capabilities{
		Executor: name,
		Options: map[core.OptionName]core.Claim{
			core.OptionQueue:       native,
			core.OptionPriority:    native,
			core.OptionDelay:       {Support: core.SupportNative, Granularity: time.Millisecond},
			core.OptionMaxAttempts: {Support: core.SupportNative, Most: mostAttempts},
			core.OptionBackoff: {Support: core.SupportEmulated, Granularity: time.Millisecond,
				Reason: "a native worker waits as the client's RetryPolicy says"},
			core.OptionTimeout: {Support: core.SupportEmulated, Granularity: time.Nanosecond,
				Reason: "a native worker has the client's JobTimeout"},
			core.OptionDeadline: {Support: core.SupportEmulated, Granularity: time.Nanosecond,
				Reason: "a native worker knows no deadline"},
			core.OptionID:     native,
			core.OptionUnique: native,
			core.OptionHeader: native,
			core.OptionNative: native,
		},
		Delivery:        core.GuaranteeAtLeastOnce,
		Durability:      core.DurabilityBroker,
		Order:           core.OrderFIFO,
		AtomicBatch:     true,
		IDWindow:        window,
		Ranking:         core.RankingStrict,
		PriorityLevels:  4,
		MaxPayload:      maxPayload,
		DefaultAttempts: core.DefaultMaxAttempts,
		Refuse:          func(in core.Intent) error { return refuse(opts, queues, db, &in) },
	}
}
