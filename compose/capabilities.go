package compose

import (
	"slices"
	"strings"
	"time"

	"github.com/goairlock/airlock/core"
)

// CommonCapabilities returns what can be relied on wherever an intent goes that
// a wrapper over several executors sends to one of them: of each claim the
// weakest, of each limit the narrowest. It is for airlock.Require in front of
// [WithPriority], [Route] and [Split], so that nothing is enqueued that would be
// refused at flush, and for running the conformance suite on the whole.
//
// An option is honoured if all of them honour it; the reason names who does not.
// A batch of several is never atomic, and their cancel latencies add up, since
// the parts of a call go one after the other. Native options pass only between
// executors of one name. It is stricter than [WithFallback] is, which takes an
// intent if either executor does. Of no capabilities the result is the zero
// value, which refuses every option.
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
		all.Delivery = weaker(all.Delivery, c.Delivery, "", core.AtMostOnce, core.AtLeastOnce)
		all.Durability = weaker(all.Durability, c.Durability, "", core.InProcess, core.InBroker)
		all.Order = weaker(all.Order, c.Order, core.Unordered, core.FIFO)
		all.Ranking = weaker(all.Ranking, c.Ranking, core.NoRanking, core.Weighted, core.Strict)
		all.IDWindow = commonWindow(all.IDWindow, c.IDWindow)
		all.Batch = core.PartialBatch
		all.PriorityLevels = min(all.PriorityLevels, c.PriorityLevels)
		all.MaxPayload = narrower(all.MaxPayload, c.MaxPayload)
		all.CancelLatency += c.CancelLatency
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
		support := weaker(all.Support, claim.Support, core.Refused, core.Emulated, core.NotApplicable, core.Native)
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
	if all.Support == core.Refused {
		return core.Claim{Reason: all.Reason} // a limit of what is refused says nothing
	}
	return all
}

// reasonOf says whose reason it is, where there are several executors, and who
// refuses without one.
func reasonOf(c core.Capabilities, claim core.Claim, of int) string {
	switch {
	case of == 1 || c.Executor == "":
		return claim.Reason
	case claim.Reason != "":
		return c.Executor + ": " + claim.Reason
	case claim.Support == core.Refused:
		return c.Executor + " refuses it"
	}
	return ""
}

// commonWindow is what both windows cover. A job's record is there while the job
// is unfinished, so a stored window covers an unfinished one; a fixed window
// covers neither and neither covers it.
func commonWindow(a, b core.Window) core.Window {
	switch {
	case a.Kind == b.Kind:
	case a.Kind == core.StoredWindow && b.Kind == core.UnfinishedWindow,
		a.Kind == core.UnfinishedWindow && b.Kind == core.StoredWindow:
		a.Kind = core.UnfinishedWindow
	default:
		return core.Window{}
	}
	a.For = min(a.For, b.For)
	a.Count = narrower(a.Count, b.Count)
	a.Survives = weaker(a.Survives, b.Survives, core.SurvivesNothing, core.SurvivesReconnect, core.SurvivesRestart)
	return a
}

// weaker is the one of a and b that stands earlier in order. What is not there
// counts as the weakest.
func weaker[T comparable](a, b T, order ...T) T {
	at := min(slices.Index(order, a), slices.Index(order, b))
	return order[max(at, 0)]
}

// narrower is the smaller of two limits, of which 0 is none.
func narrower[T int | time.Duration](a, b T) T {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
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
