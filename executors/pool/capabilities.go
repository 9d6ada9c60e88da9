package poolexec

import "github.com/goairlock/airlock/core"

// Capabilities returns what this pool declares about itself.
func (e *Executor) Capabilities() core.Capabilities {
	if e == nil {
		return core.Capabilities{}
	}
	return e.caps
}

func capabilities(o *Options) core.Capabilities {
	native := core.Claim{Support: core.Native}
	batch := core.PartialBatch
	if o.RefuseWhenFull {
		batch = core.AtomicBatch
	}
	return core.Capabilities{
		Executor: "pool",
		Options: map[core.OptionName]core.Claim{
			core.OptionQueue:       {Support: core.NotApplicable, Reason: "one pool works every queue"},
			core.OptionPriority:    native,
			core.OptionDelay:       native,
			core.OptionMaxAttempts: native,
			core.OptionBackoff:     native,
			core.OptionTimeout:     native,
			core.OptionDeadline:    native,
			core.OptionID:          native,
			core.OptionUnique:      native,
			core.OptionHeader:      native,
			core.OptionNative:      {Reason: "a pool has none"},
		},
		Delivery:        core.AtMostOnce,
		Durability:      core.InProcess,
		Order:           core.FIFO,
		Batch:           batch,
		IDWindow:        core.Window{Kind: core.StoredWindow, Count: o.RememberIDs},
		Ranking:         core.Strict,
		PriorityLevels:  10,
		DefaultAttempts: defaultAttempts,
	}
}
