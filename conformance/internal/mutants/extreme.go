package mutants

import (
	"context"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

func keyAs(change func(string) string) func(core.Intent) string {
	return func(in core.Intent) string {
		return in.Task + "\n" + in.Options.Queue + "\n" + change(in.Options.Unique)
	}
}

func first(n int) func(string) string { return func(s string) string { return s[:min(len(s), n)] } }

// nearNameMutants confuse names that are nearly the same.
var nearNameMutants = []Variant{
	queue("cuts-queues", "P24", "uses only the first 63 bytes of the name of a queue", bug{queueName: first(63)}).like("a PostgreSQL identifier has 63 bytes"),
	queue("merges-signs-in-queues", "P24", "takes _ and - in the name of a queue for the same", bug{queueName: func(s string) string { return strings.ReplaceAll(s, "_", "-") }}),
	queue("cuts-ids-late", "I01", "uses only the first 199 bytes of an ID", bug{id: func(in core.Intent) string { return first(199)(in.ID) }}),
	queue("merges-signs-in-ids", "I01", "takes : and / in an ID for the same", bug{id: func(in core.Intent) string { return strings.ReplaceAll(in.ID, ":", "/") }}),
	queue("cuts-keys-late", "P15", "uses only the first 254 bytes of a unique key", bug{key: keyAs(first(254))}),
	queue("folds-keys", "P15", "ignores the case of unique keys", bug{key: keyAs(strings.ToLower)}),
	queue("strips-accents-from-keys", "P15", "takes é and è in a unique key for the same", bug{key: keyAs(func(s string) string {
		return strings.NewReplacer("é", "e", "è", "e").Replace(s)
	})}),
	queue("cuts-header-keys", "A11", "uses only the first 127 bytes of a header's key", jobHeaders(func(m map[string]string) map[string]string {
		cut := map[string]string{}
		for k, v := range m {
			cut[first(127)(k)] = v
		}
		return cut
	})),
	queue("collapses-signs-in-keys", "P15", "takes -- in a unique key for -", bug{key: keyAs(collapse)}),
	queue("paths-in-ids", "I01", "takes / and . in an ID for the same", bug{id: func(in core.Intent) string { return strings.ReplaceAll(in.ID, "/", ".") }}),
	queue("pool-spaces-in-keys", "P15", "takes a space and _ in a unique key for the same, in memory", func() bug {
		b := boundedPool(64, nil)
		b.key = keyAs(func(s string) string { return strings.ReplaceAll(s, " ", "_") })
		return b
	}()),
	inline("inline-collapses-header-keys", "A11", "takes -- in the key of a header for -", inlineCaps(), func(next core.Executor, _ *worker.Registry) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			changed := slices.Clone(intents)
			for i, in := range intents {
				for k, v := range in.Headers().All() {
					if short := collapse(k); short != k && in.Headers().Has(short) {
						if other, err := in.With(core.Header(short, v)); err == nil {
							changed[i] = other
						}
					}
				}
			}
			return next(ctx, changed...)
		}
	}),
}

func collapse(s string) string { return strings.ReplaceAll(s, "--", "-") }

// extremeMutants damage values that are out of the ordinary.
var extremeMutants = []Variant{
	queue("backoff-of-an-hour", "P25", "waits for no longer than an hour between attempts", bug{verdict: func(_ *job, _ worker.Delivery, v *worker.Verdict) {
		if v.Action == worker.Retry {
			v.After = min(v.After, time.Hour)
		}
	}}),
	queue("attempts-in-a-byte", "P25", "keeps the number of attempts in eight bits", bug{deliver: func(_ *job, d *worker.Delivery) {
		if n := d.MaxAttempts & 0xff; n > 0 {
			d.MaxAttempts = n
		}
	}}),
	queue("attempts-in-31-bits", "P25", "refuses nothing, and gives up on jobs of more than 32767 attempts", bug{deliver: func(_ *job, d *worker.Delivery) {
		d.MaxAttempts = min(d.MaxAttempts, math.MaxInt16)
	}}),
	queue("delay-in-32-bits", "P25", "keeps delays as milliseconds in 32 bits", bug{admit: func(_ *store, j *job) bool {
		if d := time.Until(j.at); d > 0 {
			j.at = time.Now().Add(time.Duration(uint32(d/time.Millisecond))*time.Millisecond + d%time.Millisecond)
		}
		return true
	}}),
	queue("time-without-a-sign", "P25", "keeps times as seconds without a sign", bug{admit: func(_ *store, j *job) bool {
		if !j.at.IsZero() && j.at.Unix() < 0 {
			j.at = time.Unix(math.MaxUint32, 0)
		}
		return true
	}}),
	queue("no-timeout-beyond-a-day", "P25", "cuts timeouts to a day", bug{deliver: func(_ *job, d *worker.Delivery) {
		if d.Timeout > 0 {
			d.Timeout = min(d.Timeout, 24*time.Hour)
		}
	}}),
	queue("deadline-of-2038", "P25", "cuts deadlines to 31 bits of seconds", bug{deliver: func(_ *job, d *worker.Delivery) {
		if d.Deadline.Unix() > math.MaxInt32 {
			d.Deadline = time.Unix(math.MaxInt32, 0)
		}
	}}),
	queue("cuts-header-values", "P25", "cuts header values to 16 KiB", jobHeaders(func(m map[string]string) map[string]string {
		for k, v := range m {
			m[k] = v[:min(len(v), 16<<10)]
		}
		return m
	})),
	queue("shares-large-payloads", "A17", "stores one of two payloads of the same size and the same beginning and end", func() bug {
		return bug{admit: func(s *store, j *job) bool {
			n := len(j.payload)
			for _, other := range s.all {
				if n > 4096 && n == len(other.payload) && string(j.payload[:64]) == string(other.payload[:64]) && string(j.payload[n-64:]) == string(other.payload[n-64:]) && j.in.Task == other.in.Task {
					j.payload = other.payload
				}
			}
			return true
		}}
	}()),
	queue("breaks-characters", "A17", "replaces a character that lies across two parts of 4 KiB", payloads(func(b []byte) []byte {
		var out []byte
		for ; len(b) > 4096; b = b[4096:] {
			out = append(out, strings.ToValidUTF8(string(b[:4096]), "?")...)
		}
		return append(out, b...)
	})),
	inline("inline-timeout-of-an-hour", "P25", "cuts timeouts to an hour", inlineCaps(), func(_ core.Executor, reg *worker.Registry) core.Executor {
		return adapter.Each(inlineCaps(), func(ctx context.Context, in core.Intent) error {
			if in.Options.Timeout > time.Hour {
				in, _ = in.With(core.Timeout(time.Hour))
			}
			return runHere(ctx, reg, in)
		})
	}),
}
