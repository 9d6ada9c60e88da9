package compose

import (
	"slices"
	"strings"
	"time"

	"github.com/goairlock/airlock/core"
)

// CommonCapabilities returns what holds wherever a wrapper over several executors
// sends an intent: of each claim the weakest, of each limit the narrowest. It is
// what [WithPriority], [Route] and [Split] answer to [core.Executor.Capabilities].
//
// An option is honoured if all of them honour it. The reason names the executor
// that does not. A batch over several is never atomic, since the parts of a call
// go one after the other. It is transactional if all are, and an ID is one job
// per queue if that is so on any of them. Native options pass only between
// executors of one name. Without arguments the result is the zero value, which
// refuses every option.
func CommonCapabilities(caps ...core.Capabilities) core.Capabilities {
	if len(caps) == 0 {
		return core.Capabilities{}
	}
	all := caps[0]
	all.Options = make(map[core.OptionName]core.Claim)
	for _, name := range append(core.PortableOptions(), core.OptionNative) {
		if claim := commonClaim(name, caps); claim != (core.Claim{}) {
			all.Options[name] = claim
		}
	}
	names := []string{all.Executor}
	refuse := []func(core.Intent) error{all.Refuse}
	for _, c := range caps[1:] {
		if !slices.Contains(names, c.Executor) {
			names = append(names, c.Executor)
		}
		refuse = append(refuse, c.Refuse)
		all.Delivery = weaker(all.Delivery, c.Delivery, "", core.GuaranteeAtMostOnce, core.GuaranteeAtLeastOnce)
		all.Durability = weaker(all.Durability, c.Durability, "", core.DurabilityProcess, core.DurabilityBroker)
		all.Order = weaker(all.Order, c.Order, "", core.OrderFIFO)
		all.Ranking = weaker(all.Ranking, c.Ranking, "", core.RankingWeighted, core.RankingStrict)
		all.IDWindow = commonWindow(all.IDWindow, c.IDWindow)
		all.AtomicBatch = false
		all.Transactional = all.Transactional && c.Transactional
		all.PriorityLevels = min(all.PriorityLevels, c.PriorityLevels)
		all.MaxPayload = narrower(all.MaxPayload, c.MaxPayload)
		if all.DefaultAttempts != c.DefaultAttempts {
			all.DefaultAttempts = 0 // it depends
		}
	}
	all.Executor = strings.Join(names, "+")
	all.Refuse = refuseAny(refuse)
	return all
}

func commonClaim(name core.OptionName, caps []core.Capabilities) core.Claim {
	all := caps[0].Options[name]
	all.Reason = reasonOf(caps[0], all, len(caps))
	for _, c := range caps[1:] {
		claim := c.Options[name]
		support := weaker(all.Support, claim.Support, core.SupportRefused, core.SupportEmulated, core.SupportNotApplicable, core.SupportNative)
		if support != all.Support {
			all.Reason = reasonOf(c, claim, len(caps))
		}
		all.Support = support
		all.Granularity = max(all.Granularity, claim.Granularity)
		all.Longest = narrower(all.Longest, claim.Longest)
		all.Most = narrower(all.Most, claim.Most)
		if name == core.OptionNative && c.Executor != caps[0].Executor {
			return core.Claim{Reason: "it would be one of " + caps[0].Executor + " or " + c.Executor + " alone"}
		}
	}
	if all.Support == core.SupportRefused {
		return core.Claim{Reason: all.Reason} // the limits of a refused option mean nothing
	}
	return all
}

// reasonOf names the executor in front of its reason if there are several
// executors, and gives a reason for a refusal without one.
func reasonOf(c core.Capabilities, claim core.Claim, of int) string {
	switch {
	case of == 1 || c.Executor == "":
		return claim.Reason
	case claim.Reason != "":
		return c.Executor + ": " + claim.Reason
	case claim.Support == core.SupportRefused:
		return c.Executor + " refuses it"
	}
	return ""
}

// commonWindow returns what both windows cover. A job's record is there while
// the job is unfinished, so a stored window covers an unfinished one. A fixed
// window covers neither of these, and neither covers a fixed one.
func commonWindow(a, b core.Window) core.Window {
	switch {
	case a.Kind == b.Kind:
	case a.Kind == core.WindowStored && b.Kind == core.WindowUnfinished,
		a.Kind == core.WindowUnfinished && b.Kind == core.WindowStored:
		a.Kind = core.WindowUnfinished
	default:
		return core.Window{}
	}
	switch a.Kind {
	case "":
		return core.Window{}
	case core.WindowUnfinished: // it ends with the job
		a.For = 0
	default:
		a.For = narrower(a.For, b.For)
	}
	a.Count = narrower(a.Count, b.Count)
	a.PerQueue = a.PerQueue || b.PerQueue
	a.Survives = weaker(a.Survives, b.Survives, core.SurvivalNone, core.SurvivalReconnect, core.SurvivalRestart)
	return a
}

// eitherCapabilities returns what holds if an intent goes to either of two
// executors, to the first if that takes it. It takes what one of them takes and
// promises what both keep. See [WithFallback].
func eitherCapabilities(first, second core.Capabilities) core.Capabilities {
	either := CommonCapabilities(first, second)
	for _, name := range core.PortableOptions() {
		a, b := first.Options[name], second.Options[name]
		claim := either.Options[name]
		switch {
		case a.Support == core.SupportRefused && b.Support == core.SupportRefused:
			continue
		case b.Support == core.SupportRefused:
			claim = only(first, a)
		case a.Support == core.SupportRefused:
			claim = only(second, b)
		default:
			claim.Longest = wider(a.Longest, b.Longest)
			claim.Most = wider(a.Most, b.Most)
		}
		either.Options[name] = claim
	}
	switch { // who takes a priority at all says how it ranks
	case second.Options[core.OptionPriority].Support == core.SupportRefused:
		either.Ranking, either.PriorityLevels = first.Ranking, first.PriorityLevels
	case first.Options[core.OptionPriority].Support == core.SupportRefused:
		either.Ranking, either.PriorityLevels = second.Ranking, second.PriorityLevels
	}
	either.MaxPayload = first.MaxPayload // a payload too large for it does not go to the second
	either.IDWindow = core.Window{}
	return either
}

// only is the claim of the one executor of two that takes an option.
func only(c core.Capabilities, claim core.Claim) core.Claim {
	if claim.Reason == "" && c.Executor != "" {
		claim.Reason = c.Executor + " alone takes it"
	} else {
		claim.Reason = reasonOf(c, claim, 2)
	}
	return claim
}

// weaker returns whichever of a and b comes first in order. A value that is not
// in order counts as the weakest.
func weaker[T comparable](a, b T, order ...T) T {
	at := min(slices.Index(order, a), slices.Index(order, b))
	return order[max(at, 0)]
}

// narrower returns the smaller of two limits; 0 is no limit.
func narrower[T int | time.Duration](a, b T) T {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// wider returns the larger of two limits; 0 is no limit.
func wider[T int | time.Duration](a, b T) T {
	if a == 0 || b == 0 {
		return 0
	}
	return max(a, b)
}

func refuseAny(refuse []func(core.Intent) error) func(core.Intent) error {
	refuse = slices.DeleteFunc(refuse, func(f func(core.Intent) error) bool { return f == nil })
	if len(refuse) == 0 {
		return nil
	}
	return func(in core.Intent) error {
		for _, f := range refuse {
			if err := f(in); err != nil {
				return err
			}
		}
		return nil
	}
}
