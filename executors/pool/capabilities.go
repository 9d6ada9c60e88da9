package poolexec

import (
	"time"

	"github.com/goairlock/airlock/core"
)

func capabilities(o *Options) core.Capabilities {
	native := core.Claim{Support: core.SupportNative}
	exact := core.Claim{Support: core.SupportNative, Granularity: time.Nanosecond}
	window := core.Window{Kind: core.WindowStored, Count: o.RememberIDs}
	if o.RememberIDs == 0 {
		window = core.Window{Kind: core.WindowUnfinished}
	}
	return core.Capabilities{
		Executor: "pool",
		Options: map[core.OptionName]core.Claim{
			core.OptionQueue:       {Support: core.SupportNotApplicable, Reason: "one pool runs the jobs of every queue"},
			core.OptionPriority:    native,
			core.OptionDelay:       exact,
			core.OptionMaxAttempts: native,
			core.OptionBackoff:     exact,
			core.OptionTimeout:     exact,
			core.OptionDeadline:    exact,
			core.OptionID:          native,
			core.OptionUnique:      native,
			core.OptionHeader:      native,
		},
		Delivery:        core.GuaranteeAtMostOnce,
		Durability:      core.DurabilityProcess,
		Order:           core.OrderFIFO,
		AtomicBatch:     o.RefuseWhenFull,
		IDWindow:        window,
		Ranking:         core.RankingStrict,
		PriorityLevels:  10,
		DefaultAttempts: core.DefaultMaxAttempts,
	}
}
