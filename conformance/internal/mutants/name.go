package mutants

import (
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// nameMutants confuse portable and native names of queues.
var nameMutants = []Variant{
	queue("names-only-worked", "N03", "sends to the portable name, and works the native one", bug{nameless: func(int) bool { return true }}),
	queue("names-only-sent", "N03", "sends to the native name, and works the portable one", bug{unnamed: true}),
	queue("no-names-at-all", "N03", "ignores native names on both sides", bug{nameless: func(int) bool { return true }, unnamed: true}),
	queue("no-names-in-batches", "N03", "sends batches to the portable name", bug{nameless: func(n int) bool { return n > 1 }}),
	queue("native-name-in-job", "N03", "gives handlers the native name of their queue", bug{nativeJob: true}),
	queue("retries-to-portable-name", "N03", "stores a retry in the queue of the portable name", bug{verdict: func(j *job, _ worker.Delivery, v *worker.Verdict) {
		if v.Action == worker.Retry && j.in.Options.Queue != "" {
			j.queue = j.in.Options.Queue
		}
	}}),
	queue("shares-a-native-name", "N03", "takes jobs for a queue that has the native name of another one", bug{
		caps: func(c *core.Capabilities) { c.Refuse = nil },
	}),
}
