package compose

import (
	"context"
	"slices"

	"github.com/goairlock/airlock/core"
)

// Strip drops these options from every intent before exec sees it. It is the
// explicit way to use an executor that refuses them where their loss is
// acceptable. The job then runs as if the option had not been given: without
// [core.OptionDelay] at once, without [core.OptionUnique] as often as it is
// dispatched. Without [core.OptionID] the ID stays the job's identity but counts
// as generated, so that a second send of it is Accepted and not a Duplicate.
// Without [core.OptionNative] the options of every executor are gone.
//
// The caller's intents and the outcomes keep the options. A name that is no
// option is [core.ErrInvalid] at each call. Without names nothing changes.
//
// [core.Executor.Check] judges the intents without these options, as a dispatch
// does. The [core.Capabilities] claim the options as refused, since a claim is a
// promise and nobody keeps this one.
func Strip(exec core.Executor, names ...core.OptionName) core.Executor {
	bad := needs("Strip", exec)
	names = slices.Clone(names)
	for _, name := range names {
		if name != core.OptionNative && !slices.Contains(core.PortableOptions(), name) {
			bad = invalidf("Strip: no option is named %q", name)
		}
	}
	caps := func() (core.Capabilities, bool) {
		caps, ok := exec.Capabilities()
		for _, name := range names {
			if claim := caps.Options[name]; claim.Support != core.SupportRefused {
				caps.Options[name] = core.Claim{Reason: "Strip drops it"}
			}
		}
		return caps, ok
	}
	questions := answerWith(caps, func(ctx context.Context, intents []core.Intent) error {
		return ofCaller(exec.Check(ctx, without(intents, names)...), intents)
	})
	return wrap(bad, questions, func(ctx context.Context, intents []core.Intent) error {
		return ofCaller(exec.Call(ctx, without(intents, names)), intents)
	})
}

// ofCaller returns an answer with the outcomes of the caller's intents: those
// below may be without their queue.
func ofCaller(err error, intents []core.Intent) error {
	if _, ok := err.(*core.DispatchError); ok {
		return core.Combine(core.OutcomesOf(err, intents))
	}
	return err
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
