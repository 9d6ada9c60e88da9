package compose

import (
	"context"
	"slices"

	"github.com/goairlock/airlock/core"
)

// Strip drops these options from every intent before exec sees it: the explicit
// way to use an executor that refuses them where their loss is acceptable. The
// job then runs as if the option had not been given: without
// [core.OptionDelay] at once, without [core.OptionUnique] as often as it is
// dispatched. Without [core.OptionID] the ID stays the job's identity but counts
// as generated, so that a second send of it is Accepted and not a Duplicate.
// Without [core.OptionNative] the options of every executor are gone.
//
// The intents that the caller holds, and the outcomes, keep what they had. A
// name that is no option is [core.ErrInvalid] at each call; no names at all
// change nothing.
//
// No [core.Capabilities] claim that an option is dropped, for a claim is a
// promise. Where airlock.Require judges intents at the call site, give it a copy
// that lets the stripped ones pass:
//
//	caps := queue.Capabilities()
//	caps.Options = maps.Clone(caps.Options)
//	caps.Options[core.OptionDelay] = core.Claim{Support: core.NotApplicable, Reason: "dropped by Strip"}
func Strip(exec core.Executor, names ...core.OptionName) core.Executor {
	bad := missing("Strip", exec)
	names = slices.Clone(names)
	for _, name := range names {
		if name != core.OptionNative && !slices.Contains(core.PortableOptions(), name) {
			bad = invalidf("Strip: no option is named %q", name)
		}
	}
	return wrap(bad, func(ctx context.Context, intents []core.Intent) []core.Outcome {
		return call(ctx, exec, without(intents, names))
	})
}

// without copies the intents only if one of them has such an option.
func without(intents []core.Intent, names []core.OptionName) []core.Intent {
	for i := range intents {
		if !slices.ContainsFunc(names, intents[i].Has) {
			continue
		}
		bare := slices.Clone(intents)
		for j := i; j < len(bare); j++ {
			bare[j] = bare[j].Without(names...)
		}
		return bare
	}
	return intents
}
