package mutants

import (
	"fmt"
	"time"

	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
)

// onLine is a variant of the system on the toy broker.
func onLine(name, target, breaks string, b lineBug) Variant {
	return Variant{
		Name: name, Target: target, Breaks: breaks, Levels: []conformance.Level{conformance.Faults},
		Sometimes: []string{"F14", "F15"}, // which break connections while jobs are between two states
		Harness:   func() conformance.Harness { return lineHarness(b) },
	}
}

var lineMutants = []Variant{
	onLine("ignores-cancel", "X02", "waits for the reply although its context is done", lineBug{ignoresContext: true}),
	onLine("cancelled-is-not-sent", "X02", "says not sent for a cancelled call", lineBug{outcome: func(o *core.Outcome) {
		if isCancelled(o.Err) {
			o.State = core.NotSent
		}
	}}),
	onLine("takes-late-answers", "X02", "reuses a connection on which a reply is still missing", lineBug{keepsCancelled: true}).
		like("redis-py 4.5.3: an answer to a cancelled request went to the next one"),
	onLine("hangs-while-down", "F01", "dials until the broker is back", lineBug{redialsForEver: true}),
	onLine("needs-new-client", "F01", "never connects again", lineBug{neverRedials: true}),
	onLine("buffers-while-down", "F01", "returns nil while its broker is down, and sends later", lineBug{buffers: true}).
		sometimes("F05").like("nats.go: publishes go to the reconnect buffer"),
	onLine("lost-reply-is-not-sent", "F02", "says not sent if the reply is lost", lineBug{outcome: func(o *core.Outcome) {
		if o.State == core.Unknown && !isCancelled(o.Err) {
			o.State = core.NotSent
		}
	}}),
	onLine("unknown-wraps-unavailable", "F02", "says unavailable too for an unknown outcome", lineBug{outcome: func(o *core.Outcome) {
		if o.State == core.Unknown {
			o.Err = fmt.Errorf("%w: %w", core.ErrUnavailable, o.Err)
		}
	}}),
	onLine("blind-resend", "F03", "retries under a new ID when a reply is missing", lineBug{resends: true}).
		like("hibiken/asynq without TaskID: a lost reply and a retry make two jobs"),
	onLine("ids-per-connection", "F03", "forgets IDs with the connection", lineBug{idsPerConnection: true}).sometimes("F05"),
	onLine("keys-per-connection", "F03", "forgets unique keys with the connection", lineBug{keysPerConnection: true}),
	onLine("write-is-success", "F04", "says accepted as soon as the request is written", lineBug{writeIsSuccess: true}),
	onLine("reads-once", "F04", "takes the result of one read for the whole reply", lineBug{readsOnce: true}),
	onLine("hasty", "F04", "waits only 550 ms for a reply", lineBug{timeout: 550 * time.Millisecond}).sometimes("B05", "F01", "F02", "F03", "F05", "F07", "F11", "X02"),
	onLine("commits-prefetched", "F05", "acknowledges all fetched jobs when it reconnects", lineBug{prefetches: true}),
	onLine("starts-once", "F05", "never works if its connection breaks while it starts", lineBug{startsOnce: true}).
		like("riverqueue/river v0.51.1: \"conn closed\" during a start is taken for a shutdown"),
	onLine("one-outcome-for-all", "B05", "says not sent for all of an interrupted call", lineBug{broken: func(out []core.Outcome, chunk int) {
		for i := range out {
			if chunk > 0 {
				out[i].State, out[i].Err = core.NotSent, core.ErrNotSent
			}
		}
	}}),
	onLine("lost-ack-is-failure", "F07", "buries a job whose acknowledgement failed", lineBug{lostAckIsDead: true}),
	onLine("lost-ack-runs-on", "F07", "runs a job ten more times if its acknowledgement failed", lineBug{lostAckIsRetry: true}).sometimes("F01"),
	onLine("no-heartbeat", "F08", "does not renew the lease of a running job", lineBug{silent: true}).like("hibiken/asynq#1030"),
	onLine("memory-only", "F09", "keeps accepted jobs in memory", lineBug{forgetsOnRestart: true}),
	onLine("ids-in-memory", "F09", "keeps IDs in memory", lineBug{forgetsIDsOnRestart: true}),
	onLine("worker-gives-up", "F09", "stops at the first error of its connection", lineBug{neverReconnects: true}),
	onLine("drops-oldest", "F11", "makes room by dropping the oldest job", lineBug{dropsOldest: true}).
		like("NATS JetStream with DiscardOld, Redis with an evicting maxmemory-policy"),
}
