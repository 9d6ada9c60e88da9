package conformance

import (
	"fmt"
	"maps"
	"slices"

	"github.com/goairlock/airlock/core"
)

var claimChecks = []check{
	{id: "Q05", level: Core, run: claimsAreValid,
		title: "the capabilities have valid values that do not contradict each other",
		why:   "scopes, wrappers and users decide by them, and checks apply or do not apply because of them"},
}

func claimsAreValid(p *probe) {
	s := p.open(Setup{})
	if wrong := wrongClaims(&s.caps); len(wrong) > 0 {
		p.fail("valid capabilities", "%s", wrong[0])
	}
}

// wrongClaims returns a sentence for each value that cannot be right.
func wrongClaims(c *core.Capabilities) []string {
	var wrong []string
	demand := func(ok bool, format string, args ...any) {
		if !ok {
			wrong = append(wrong, fmt.Sprintf(format, args...))
		}
	}
	demand(c.Executor != "", "Executor is empty")
	demand(oneOf(c.Delivery, core.GuaranteeAtMostOnce, core.GuaranteeAtLeastOnce), "Delivery %q", c.Delivery)
	demand(oneOf(c.Durability, core.DurabilityProcess, core.DurabilityBroker), "Durability %q", c.Durability)
	demand(oneOf(c.Order, core.OrderFIFO), "Order %q", c.Order)
	demand(c.Delivery != core.GuaranteeAtLeastOnce || c.Durability != core.DurabilityProcess,
		"Delivery is at least once, and an accepted job does not survive its process")
	demand(c.MaxPayload >= 0, "MaxPayload %d", c.MaxPayload)
	demand(c.DefaultAttempts >= 0, "DefaultAttempts %d", c.DefaultAttempts)
	for _, name := range slices.Sorted(maps.Keys(c.Options)) {
		wrong = append(wrong, wrongClaim(name, c.Options[name])...)
	}
	wrong = append(wrong, wrongRanking(c)...)
	return append(wrong, wrongWindow(c)...)
}

// oneOf reports whether a value is one of those, or makes no claim.
func oneOf[T ~string](value T, valid ...T) bool {
	return value == "" || slices.Contains(valid, value)
}

func wrongClaim(name core.OptionName, c core.Claim) []string {
	var wrong []string
	demand := func(ok bool, what string, value any) {
		if !ok {
			wrong = append(wrong, fmt.Sprintf("option %s: %s %v", name, what, value))
		}
	}
	demand(oneOf(c.Support, core.SupportNative, core.SupportEmulated, core.SupportNotApplicable), "unknown Support", c.Support)
	demand(c.Granularity >= 0, "Granularity", c.Granularity)
	demand(c.Longest >= 0, "Longest", c.Longest)
	demand(c.Longest == 0 || c.Longest >= c.Granularity, "Longest is less than Granularity:", c.Longest)
	demand(c.Most >= 0, "Most", c.Most)
	needsReason := c.Support == core.SupportRefused || c.Support == core.SupportNotApplicable
	demand(c.Reason != "" || !needsReason, "has no Reason, and is", supportText(c.Support))
	return wrong
}

func supportText(s core.Support) string {
	if s == core.SupportRefused {
		return "refused"
	}
	return string(s)
}

func wrongRanking(c *core.Capabilities) []string {
	support := c.Options[core.OptionPriority].Support
	honoured := support == core.SupportNative || support == core.SupportEmulated
	switch {
	case !oneOf(c.Ranking, core.RankingStrict, core.RankingWeighted):
		return []string{fmt.Sprintf("Ranking %q", c.Ranking)}
	case honoured && (c.Ranking == "" || c.PriorityLevels < 2 || c.PriorityLevels > 10):
		return []string{fmt.Sprintf("priorities are honoured with Ranking %q and %d PriorityLevels", c.Ranking, c.PriorityLevels)}
	case !honoured && (c.Ranking != "" || c.PriorityLevels != 0):
		return []string{fmt.Sprintf("priorities are not honoured, and there are Ranking %q and %d PriorityLevels", c.Ranking, c.PriorityLevels)}
	}
	return nil
}

func wrongWindow(c *core.Capabilities) []string {
	w := c.IDWindow
	switch {
	case !oneOf(w.Kind, core.WindowUnfinished, core.WindowStored, core.WindowFixed):
		return []string{fmt.Sprintf("IDWindow.Kind %q", w.Kind)}
	case !oneOf(w.Survives, core.SurvivalReconnect, core.SurvivalRestart):
		return []string{fmt.Sprintf("IDWindow.Survives %q", w.Survives)}
	case (w.Kind == core.WindowFixed) != (w.For > 0) && w.Kind != core.WindowStored, w.For < 0, w.Count < 0:
		return []string{fmt.Sprintf("IDWindow %q for %v, last %d", w.Kind, w.For, w.Count)}
	case w.Kind == "" && w != core.Window{}:
		return []string{fmt.Sprintf("IDWindow has no Kind, and is %+v", w)}
	}
	return nil
}
