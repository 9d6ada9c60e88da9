package poolexec

import (
	"time"

	"github.com/goairlock/airlock/core"
)

// Capabilities returns what this pool declares about itself.
func (e *Executor) Capabilities() core.Capabilities {
	if e == nil {
		return core.Capabilities{}
	}
	return e.caps
}

func capabilities(o *Options) core.Capabilities {
	native := core.Claim{Support: core.Native}
	exact := core.Claim{Support: core.Native, Granularity: time.Nanosecond}
	batch, window := core.PartialBatch, core.Window{Kind: core.StoredWindow, Count: o.RememberIDs}
	if o.RefuseWhenFull {
		batch = core.AtomicBatch
	}
	if o.RememberIDs == 0 {
		window = core.Window{Kind: core.UnfinishedWindow}
	}
	return core.Capabilities{
		Executor: "pool",
		Options: map[core.OptionName]core.Claim{
			core.OptionQueue:       {Support: core.NotApplicable, Reason: "one pool works every queue"},
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
		Delivery:        core.AtMostOnce,
		Durability:      core.InProcess,
		Order:           core.FIFO,
		Batch:           batch,
		IDWindow:        window,
		Ranking:         core.Strict,
		PriorityLevels:  10,
		DefaultAttempts: defaultAttempts,
	}
}
