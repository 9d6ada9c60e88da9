package natsexec

import (
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/core"
)

const (
	// headroom is what every message leaves for the headers that a worker adds
	// when it puts the job off or buries it.
	headroom = 2048

	// roomForHeaders is what the claimed payload leaves of max_payload, so that the
	// claim holds whatever the headers.
	roomForHeaders = 1 << 16

	// largestHeader is what nats-server stores (v2.15.2, server/stream.go: the
	// length of the headers is kept in 16 bits).
	largestHeader = 1<<16 - 1
)

// largestMessage is the most bytes that headers and payload have together.
func largestMessage(conn *nats.Conn, cfg jetstream.StreamConfig) int {
	most := int(conn.MaxPayload())
	if cfg.MaxMsgSize > 0 && (most <= 0 || int(cfg.MaxMsgSize) < most) {
		most = int(cfg.MaxMsgSize)
	}
	return most
}

func capabilities(cfg jetstream.StreamConfig, o Options, m *mapping, largest int) core.Capabilities {
	native := core.Claim{Support: core.Native}
	exact := core.Claim{Support: core.Native, Granularity: time.Nanosecond}
	emulated := func(else_ string) core.Claim {
		return core.Claim{Support: core.Emulated, Granularity: time.Nanosecond, Reason: else_}
	}
	caps := core.Capabilities{
		Executor: name,
		Options: map[core.OptionName]core.Claim{
			core.OptionQueue:       native,
			core.OptionPriority:    {Reason: "JetStream has no priorities, and Options.Lanes is off"},
			core.OptionDelay:       {Reason: "the stream does not allow schedules (allow_msg_schedules)"},
			core.OptionMaxAttempts: {Support: core.Emulated, Reason: "another worker delivers up to its consumer's max_deliver"},
			core.OptionBackoff:     emulated("another worker waits as its own code and its consumer say"),
			core.OptionTimeout:     emulated("another worker does not know of it"),
			core.OptionDeadline:    emulated("another worker does not know of it"),
			core.OptionID:          native,
			core.OptionUnique:      native,
			core.OptionHeader:      native,
		},
		Delivery:   core.AtLeastOnce,
		Durability: core.InBroker,
		Order:      core.FIFO,
		Batch:      core.PartialBatch,
		IDWindow: core.Window{
			Kind: core.FixedWindow, For: cfg.Duplicates, Survives: core.SurvivesReconnect,
		},
		DefaultAttempts: defaultAttempts,
	}
	if cfg.AllowMsgSchedules {
		caps.Options[core.OptionDelay] = exact
	}
	if o.Lanes {
		caps.Options[core.OptionPriority] = core.Claim{
			Support: core.Emulated, Reason: "another worker reads the lanes as it likes",
		}
		caps.Ranking, caps.PriorityLevels = core.Weighted, len(lanes)
	}
	if o.Atomic {
		caps.Batch = core.AtomicBatch
	}
	if largest > 0 {
		caps.MaxPayload = max(largest-min(roomForHeaders, largest/2), 1)
	}
	caps.Refuse = func(in core.Intent) error { return tooLarge(m, in, largest) }
	return caps
}

// tooLarge counts the headers, which share max_payload with the payload and have
// a limit of their own, and which nobody can see from the outside.
func tooLarge(m *mapping, in core.Intent, largest int) error {
	bound := headroom + len(in.Payload()) + 6*in.Headers().Size() + 4096
	if bound <= largestHeader && (largest <= 0 || bound <= largest) {
		return nil // whatever the headers turn out to be
	}
	var msg nats.Msg
	m.fill(&msg, &in, time.Time{})
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
