package mutants

import (
	"context"
	"sync"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// halfOf cuts the ID window of some intents.
func halfOf(which func(core.Intent) bool) func(core.Intent, time.Duration) time.Duration {
	return func(in core.Intent, d time.Duration) time.Duration {
		if which(in) {
			return d / 2
		}
		return d
	}
}

func every(core.Intent) bool { return true }

// windowMutants remember IDs for another time than they declare.
var windowMutants = []Variant{
	queue("half-a-window", "I08", "forgets IDs after half of its window", bug{window: halfOf(every)}),
	queue("half-a-window-for-generated", "I08", "forgets generated IDs after half of its window", bug{window: halfOf(func(in core.Intent) bool { return !in.ChosenID() })}),
	queue("half-a-stored-window", "I08", "forgets IDs too early after their job has ended", bug{stored: true, window: halfOf(every)}),
	queue("window-from-dispatch", "I08", "declares a window after the end of the job, and counts from the dispatch", bug{
		caps: func(c *core.Capabilities) { c.IDWindow.Kind = core.WindowStored },
	}),
	queue("twice-the-window", "I08", "remembers chosen IDs for twice as long as it declares", bug{window: func(_ core.Intent, d time.Duration) time.Duration { return 2 * d }}),
	queue("retry-forgets-id", "I08", "forgets the ID of a job that waits for its retry", bug{
		stored: true,
		early: func(w *brokenWorker, j *job) {
			w.store.mu.Lock()
			defer w.store.mu.Unlock()
			if j.in.Options.MaxAttempts > 1 {
				w.store.remember(j.in, time.Now())
			}
		},
	}),
	queue("buried-forgets-id", "I08", "forgets the ID of a job that has failed for good", bug{stored: true, forgetsBuried: true}),
	inline("inline-half-a-window", "I08", "forgets IDs after half of its window", memoryCaps(), remembering(idWindow/2, false)),
	inline("inline-window-of-runs", "I08", "begins the window anew with each sending", memoryCaps(), remembering(idWindow, true)),
}

func memoryCaps() core.Capabilities {
	caps := inlineCaps()
	caps.Options[core.OptionID] = core.Claim{Support: core.SupportNative}
	caps.IDWindow = core.Window{Kind: core.WindowFixed, For: idWindow}
	return caps
}

// remembering makes an executor that runs an ID once in the given time, which may
// begin anew with each sending. The ID of a failed job is free: the same intent again
// would otherwise be accepted without a run.
func remembering(d time.Duration, anew bool) func(core.Executor, *worker.Registry) core.Executor {
	return func(_ core.Executor, reg *worker.Registry) core.Executor {
		var mu sync.Mutex
		until := map[string]time.Time{}
		known := func(id string) bool {
			mu.Lock()
			defer mu.Unlock()
			seen := time.Now().Before(until[id])
			if !seen || anew {
				until[id] = time.Now().Add(d)
			}
			return seen
		}
		return adapter.Each(memoryCaps(), func(ctx context.Context, in core.Intent) error {
			switch {
			case !known(in.ID):
				err := runHere(ctx, reg, in)
				if err != nil {
					mu.Lock()
					defer mu.Unlock()
					delete(until, in.ID)
				}
				return err
			case in.ChosenID():
				return core.ErrDuplicate
			}
			return nil
		})
	}
}
