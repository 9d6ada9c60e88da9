package rabbitexec

import (
	"fmt"
	"math"
	"time"

	"github.com/goairlock/airlock/core"
)

const (
	// maxPayload is the max_message_size of RabbitMQ 4, of which an earlier one
	// allows eight times as much.
	maxPayload = 16 << 20

	// maxHeaders leaves room in a frame of 128 KiB for what RabbitMQ adds. Headers
	// cannot be split, and larger ones end the connection.
	maxHeaders = 96 << 10
)

func capabilities(t *topology, longestRun time.Duration) core.Capabilities {
	emulated := func(reason string) core.Claim {
		return core.Claim{Support: core.SupportEmulated, Granularity: time.Nanosecond, Reason: reason}
	}
	caps := core.Capabilities{
		Executor: name,
		Options: map[core.OptionName]core.Claim{
			core.OptionQueue:       {Support: core.SupportNative},
			core.OptionPriority:    {Reason: "quorum queues of RabbitMQ 3 have no priorities: set Topology.Classic and Priorities"},
			core.OptionDelay:       {Support: core.SupportNative, Granularity: step, Longest: longestDelay},
			core.OptionMaxAttempts: {Support: core.SupportEmulated, Most: math.MaxInt32, Reason: "another consumer does not count attempts"},
			core.OptionBackoff: {
				Support: core.SupportEmulated, Granularity: step, Longest: longestDelay,
				Reason: "another consumer gets a message that it gives back at once",
			},
			core.OptionTimeout:  emulated("another consumer does not know of it"),
			core.OptionDeadline: emulated("another consumer does not know of it"),
			core.OptionID:       {Reason: "RabbitMQ does not recognise a message that it had before: set Topology.Inbox"},
			core.OptionUnique:   {Reason: "RabbitMQ does not recognise a message that it had before: set Topology.Inbox"},
			core.OptionHeader:   emulated("another consumer finds them in the table " + headersHeader),
		},
		Delivery:        core.GuaranteeAtLeastOnce,
		Durability:      core.DurabilityBroker,
		Order:           core.OrderFIFO,
		MaxPayload:      maxPayload,
		DefaultAttempts: core.DefaultMaxAttempts,
		Refuse: func(in core.Intent) error {
			if err := t.refuse(&in); err != nil {
				return err
			}
			if n := tableSize(in.Headers()); n > maxHeaders {
				return fmt.Errorf("airlock: rabbitmq: task %s: headers of %d bytes in AMQP's form, want at most %d: %w", in.Task, n, maxHeaders, core.ErrTooLarge)
			}
			return nil
		},
	}
	timeout := caps.Options[core.OptionTimeout]
	timeout.Longest = longestRun
	caps.Options[core.OptionTimeout] = timeout
	header := caps.Options[core.OptionHeader]
	header.Granularity = 0
	caps.Options[core.OptionHeader] = header
	if t.Inbox != nil {
		ours := core.Claim{Support: core.SupportEmulated, Reason: "another producer or consumer does not look into the inbox"}
		caps.Options[core.OptionID], caps.Options[core.OptionUnique] = ours, ours
		caps.IDWindow = core.Window{Kind: core.WindowStored, For: t.InboxWindow, Survives: core.SurvivalRestart}
	}
	if t.Priorities {
		caps.Ranking, caps.PriorityLevels = core.RankingStrict, levels
		caps.Options[core.OptionPriority] = core.Claim{Support: core.SupportNative}
	}
	return caps
}

// tableSize returns the size of headers as an AMQP table of strings.
func tableSize(h core.Headers) int {
	const overhead = 1 + 1 + 4 // length of the key, type, length of the value
	return h.Size() + overhead*h.Len()
}
