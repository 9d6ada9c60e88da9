package syncexec

import (
	"time"

	"github.com/goairlock/airlock/core"
)

func capabilities(o *Options) core.Capabilities {
	native := core.Claim{Support: core.SupportNative}
	exact := core.Claim{Support: core.SupportNative, Granularity: time.Nanosecond}
	always := func(why string) core.Claim {
		return core.Claim{Support: core.SupportNotApplicable, Reason: why}
	}
	window := core.Window{Kind: core.WindowStored, Count: o.RememberIDs}
	if o.RememberIDs == 0 {
		window = core.Window{Kind: core.WindowUnfinished}
	}
	return core.Capabilities{
		Executor: "sync",
		Options: map[core.OptionName]core.Claim{
			core.OptionQueue:       always("every job runs at once, while its caller waits"),
			core.OptionPriority:    always("no job waits for another"),
			core.OptionDelay:       {Reason: "the caller would have to wait"},
			core.OptionMaxAttempts: native,
			core.OptionBackoff:     exact,
			core.OptionTimeout:     exact,
			core.OptionDeadline:    exact,
			core.OptionID:          native,
			core.OptionUnique:      always("no job is unfinished when the call returns"),
			core.OptionHeader:      native,
		},
		Delivery:        core.GuaranteeAtMostOnce,
		Durability:      core.DurabilityProcess,
		Order:           core.OrderFIFO,
		IDWindow:        window,
		DefaultAttempts: 1,
	}
}
