package natsexec

import (
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/goairlock/airlock/core"
)

const (
	// headroom is what every message leaves for the headers that a worker adds
	// when it puts the job off or buries it: at most 300 bytes of ID, 700 of
	// subject, 700 of reason, 800 of schedule.
	headroom = 4096

	// roomForHeaders is what the claimed payload leaves of max_payload, so that the
	// claim holds for all headers.
	roomForHeaders = 1 << 16

	// largestHeader is what nats-server stores (v2.15.2, server/stream.go: the
	// length of the headers is kept in 16 bits).
	largestHeader = 1<<16 - 1
)

func capabilities(s streamInfo, o Options, m *mapping, largest int) core.Capabilities {
	cfg := s.Config
	native := core.Claim{Support: core.SupportNative}
	exact := core.Claim{Support: core.SupportNative, Granularity: time.Nanosecond}
	emulated := func(else_ string) core.Claim {
		return core.Claim{Support: core.SupportEmulated, Granularity: time.Nanosecond, Reason: else_}
	}
	caps := core.Capabilities{
		Executor: name,
		Options: map[core.OptionName]core.Claim{
			core.OptionQueue:       native,
			core.OptionPriority:    {Reason: "JetStream has no priorities, and Options.Lanes is off"},
			core.OptionDelay:       {Reason: "the stream does not allow schedules (allow_msg_schedules)"},
			core.OptionMaxAttempts: {Support: core.SupportEmulated, Reason: "another worker delivers up to its consumer's max_deliver"},
			core.OptionBackoff:     emulated("another worker waits as its own code and its consumer say"),
			core.OptionTimeout:     emulated("another worker does not know of it"),
			core.OptionDeadline:    emulated("another worker does not know of it"),
			core.OptionID:          native,
			core.OptionUnique:      {Reason: "the server is older than 2.11 and ignores what keeps a key unique"},
			core.OptionHeader:      native,
		},
		Delivery:   core.GuaranteeAtLeastOnce,
		Durability: core.DurabilityBroker,
		Order:      core.OrderFIFO,
		IDWindow: core.Window{
			Kind: core.WindowFixed, For: cfg.Duplicates, Survives: core.SurvivalReconnect,
		},
		DefaultAttempts: core.DefaultMaxAttempts,
	}
	if s.level() >= level211 {
		caps.Options[core.OptionUnique] = native
	}
	if cfg.AllowMsgSchedules {
		caps.Options[core.OptionDelay] = exact
	}
	if o.Lanes {
		caps.Options[core.OptionPriority] = core.Claim{
			Support: core.SupportEmulated, Reason: "another worker reads the lanes as it likes",
		}
		caps.Ranking, caps.PriorityLevels = core.RankingWeighted, len(lanes)
	}
	if o.Atomic {
		caps.AtomicBatch = true
	}
	if largest > 0 {
		caps.MaxPayload = max(largest-min(roomForHeaders, largest/2), 1)
	}
	caps.Refuse = func(in core.Intent) error {
		if err := m.queues.Refuse(&in); err != nil {
			return err
		}
		return tooLarge(m, in, largest)
	}
	return caps
}

// tooLarge counts the headers too. They share max_payload with the payload and
// have a limit of their own, and callers do not see all of them.
func tooLarge(m *mapping, in core.Intent, largest int) error {
	bound := headroom + len(in.Payload()) + 6*in.Headers().Size() + 4096
	if bound <= largestHeader && (largest <= 0 || bound <= largest) {
		return nil // with any headers
	}
	var msg nats.Msg
	m.toNative(&msg, &in, time.Time{})
	header := headerSize(msg.Header)
	switch {
	case header > largestHeader-headroom:
		return fmt.Errorf("airlock: task %s: headers of %d bytes, %s takes at most %d: %w",
			in.Task, header, name, largestHeader-headroom, core.ErrTooLarge)
	case largest > 0 && header+len(in.Payload()) > largest-headroom:
		return fmt.Errorf("airlock: task %s: payload and headers of %d bytes, %s takes at most %d: %w",
			in.Task, header+len(in.Payload()), name, largest-headroom, core.ErrTooLarge)
	}
	return nil
}

func headerSize(h nats.Header) int {
	n := len("NATS/1.0\r\n\r\n")
	for k, values := range h {
		for _, v := range values {
			n += len(k) + len(": \r\n") + len(v)
		}
	}
	return n
}
