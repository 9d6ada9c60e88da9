package mutants

import (
	"time"

	"github.com/goairlock/airlock/core"
)

// claims makes a bug of a change of the capabilities.
func claims(change func(*core.Capabilities)) bug { return bug{caps: change} }

// claimsOption makes a bug of a change of one claim.
func claimsOption(name core.OptionName, change func(*core.Claim)) bug {
	return claims(func(c *core.Capabilities) {
		claim := c.Options[name]
		change(&claim)
		c.Options[name] = claim
	})
}

var claimMutants = []Variant{
	queue("has-no-name", "Q05", "claims nothing as its name", claims(func(c *core.Capabilities) { c.Executor = "" })),
	queue("invents-a-guarantee", "Q05", "claims a guarantee that the contract does not have", claims(func(c *core.Capabilities) { c.Delivery = "exactly-once" })),
	queue("invents-a-durability", "Q05", "claims a durability that the contract does not have", claims(func(c *core.Capabilities) { c.Durability = "disk" })),
	queue("delivers-again-after-the-end", "Q05", "claims at-least-once for jobs that end with the process", claims(func(c *core.Capabilities) { c.Durability = core.DurabilityProcess })),
	queue("claims-a-negative-granularity", "Q05", "claims a granularity below zero", claimsOption(core.OptionDelay, func(c *core.Claim) { c.Granularity = -time.Second })),
	queue("refuses-without-a-reason", "Q05", "refuses an option and does not say why", claimsOption(core.OptionUnique, func(c *core.Claim) { *c = core.Claim{} })),
	queue("ranks-without-levels", "Q05", "honours priorities and has no levels", claims(func(c *core.Capabilities) { c.PriorityLevels = 0 })),
	queue("remembers-for-no-time", "Q05", "claims a fixed window without a length", claims(func(c *core.Capabilities) { c.IDWindow.Kind, c.IDWindow.For = core.WindowFixed, 0 })),
	inline("invents-an-order", "Q05", "claims an order that the contract does not have", func() core.Capabilities {
		caps := inlineCaps()
		caps.Order = "random"
		return caps
	}(), nil),
}
