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
		Harness: func() conformance.Harness { return lineHarness(b) },
	}
}

var lineMutants = []Variant{
	onLine("ignores-cancel", "X02", "waits for its answer though its caller has gone", lineBug{ignoresContext: true}),
	onLine("cancelled-is-not-sent", "X02", "calls what was cancelled not sent", lineBug{outcome: func(o *core.Outcome) {
		if isCancelled(o.Err) {
			o.State = core.NotSent
		}
	}}),
	onLine("takes-late-answers", "X02", "uses a connection again whose answer is still to come", lineBug{keepsCancelled: true}).
		like("redis-py 4.5.3: an answer to a cancelled request went to the next one"),
	onLine("hangs-while-down", "F01", "dials until somebody answers", lineBug{redialsForEver: true}),
	onLine("needs-new-client", "F01", "never connects again", lineBug{neverRedials: true}),
	onLine("buffers-while-down", "F01", "says nil while its broker is down, and sends later", lineBug{buffers: true}).
		sometimes("F05").like("nats.go: publishes go to the reconnect buffer"),
	onLine("lost-reply-is-not-sent", "F02", "takes a lost answer for a failure", lineBug{outcome: func(o *core.Outcome) {
		if o.State == core.Unknown && !isCancelled(o.Err) {
			o.State = core.NotSent
		}
	}}),
	onLine("unknown-wraps-unavailable", "F02", "calls an unknown outcome unavailable as well", lineBug{outcome: func(o *core.Outcome) {
		if o.State == core.Unknown {
			o.Err = fmt.Errorf("%w: %w", core.ErrUnavailable, o.Err)
		}
	}}),
	onLine("blind-resend", "F03", "sends once more by itself when no answer came, under a new ID", lineBug{resends: true}).
		like("hibiken/asynq without TaskID: a lost reply and a retry make two jobs"),
	onLine("ids-per-connection", "F03", "forgets IDs with the connection", lineBug{idsPerConnection: true}).sometimes("F05"),
	onLine("keys-per-connection", "F03", "forgets unique keys with the connection", lineBug{keysPerConnection: true}),
	onLine("write-is-success", "F04", "takes a job for stored as soon as it is written", lineBug{writeIsSuccess: true}),
	onLine("reads-once", "F04", "takes what one read gives for the whole answer", lineBug{readsOnce: true}),
	onLine("hasty", "F04", "gives up on an answer after 550 ms", lineBug{timeout: 550 * time.Millisecond}).sometimes("B05", "F01", "F02", "F03", "F05", "F07", "F11", "X02"),
	onLine("commits-prefetched", "F05", "acknowledges all that it has fetched when it connects again", lineBug{prefetches: true}),
	onLine("one-outcome-for-all", "B05", "says not sent of a whole call that broke off", lineBug{broken: func(out []core.Outcome, chunk int) {
		for i := range out {
			if chunk > 0 {
				out[i].State, out[i].Err = core.NotSent, core.ErrNotSent
			}
		}
	}}),
	onLine("lost-ack-is-failure", "F07", "buries a job whose acknowledgement failed", lineBug{lostAckIsDead: true}),
	onLine("lost-ack-runs-on", "F07", "runs a job ten times more when its acknowledgement failed", lineBug{lostAckIsRetry: true}).sometimes("F01"),
	onLine("no-heartbeat", "F08", "does not renew the lease of a job that runs", lineBug{silent: true}).like("hibiken/asynq#1030"),
	onLine("memory-only", "F09", "keeps accepted jobs in memory", lineBug{forgetsOnRestart: true}),
	onLine("ids-in-memory", "F09", "keeps IDs in memory", lineBug{forgetsIDsOnRestart: true}),
	onLine("worker-gives-up", "F09", "stops working at the first error of its connection", lineBug{neverReconnects: true}),
	onLine("drops-oldest", "F11", "makes room by dropping the oldest job", lineBug{dropsOldest: true}).
		like("NATS JetStream with DiscardOld, Redis with an evicting maxmemory-policy"),
}
