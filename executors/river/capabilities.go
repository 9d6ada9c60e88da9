package riverexec

import (
	"time"

	"github.com/goairlock/airlock/core"
)

const (
	name            = "river"
	defaultAttempts = 25
	mostAttempts    = 1<<15 - 1 // a smallint; River cuts off what is more

	// maxPayload stays below what jsonb can hold, 255 MiB, and a call's messages
	// below 1 GiB.
	maxPayload = 128 << 20
)

func capabilities(opts Options, db database) core.Capabilities {
	window := core.Window{Kind: core.StoredWindow, Survives: core.SurvivesRestart}
	if opts.NoIdentity {
		window = core.Window{}
	}
	native := core.Claim{Support: core.Native}
	return core.Capabilities{
		Executor: name,
		Options: map[core.OptionName]core.Claim{
			core.OptionQueue:       native,
			core.OptionPriority:    native,
			core.OptionDelay:       {Support: core.Native, Granularity: time.Millisecond},
			core.OptionMaxAttempts: {Support: core.Native, Most: mostAttempts},
			core.OptionBackoff: {Support: core.Emulated, Granularity: time.Millisecond,
				Reason: "a native worker waits as the client's RetryPolicy says"},
			core.OptionTimeout: {Support: core.Emulated, Granularity: time.Nanosecond,
				Reason: "a native worker has the client's JobTimeout"},
			core.OptionDeadline: {Support: core.Emulated, Granularity: time.Nanosecond,
				Reason: "a native worker knows no deadline"},
			core.OptionID:     native,
			core.OptionUnique: native,
			core.OptionHeader: native,
			core.OptionNative: native,
		},
		Delivery:        core.AtLeastOnce,
		Durability:      core.InBroker,
		Order:           core.FIFO,
		Batch:           core.AtomicBatch,
		IDWindow:        window,
		Ranking:         core.Strict,
		PriorityLevels:  4,
		MaxPayload:      maxPayload,
		DefaultAttempts: defaultAttempts,
		Refuse:          func(in core.Intent) error { return refuse(opts, db, &in) },
	}
}
