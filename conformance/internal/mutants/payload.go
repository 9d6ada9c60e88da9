package mutants

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

var payloadMutants = []Variant{
	queue("cut-at-nul", "A01", "cuts payloads at the first NUL", payloads(func(b []byte) []byte {
		before, _, _ := bytes.Cut(b, []byte{0})
		return before
	})).like("watermill TestPubSub passes with it"),
	queue("trims-space", "A01", "trims payloads", payloads(func(b []byte) []byte { return bytes.Trim(b, " \t\n") })),
	queue("empty-is-null", "A02", "sends null for an empty payload", payloads(func(b []byte) []byte {
		if len(b) == 0 {
			return []byte("null")
		}
		return b
	})),
	queue("drops-empty", "A02", "drops jobs with an empty payload", bug{admit: func(_ *store, j *job) bool { return len(j.payload) > 0 }}).
		like("watermill TestPubSub passes with it"),
	queue("cut-at-64k", "A03", "cuts payloads at 64 KiB", payloads(func(b []byte) []byte { return b[:min(len(b), 64<<10)] })).
		like("watermill TestPubSub and go-cloud drivertest pass with it"),
	queue("limit-moves-with-headers", "A03", "counts headers against the payload's limit", bug{inner: refusing(func(in core.Intent) bool {
		return len(in.Payload())+in.Headers().Size() > referenceCaps().MaxPayload
	}, core.ErrTooLarge)}).like("JetStream: the message id's header counts against max_payload"),
	queue("never-runs-large", "A03", "accepts payloads that no worker can run", bug{admit: func(_ *store, j *job) bool { return len(j.payload) < 100<<10 }}),
	queue("numbers-are-floats", "A04", "decodes numbers as float64", payloads(rewrite(false))).like("faktory#395, asynq#166"),
	queue("sanitises-utf8", "A06", "replaces invalid UTF-8 inside JSON", payloads(func(b []byte) []byte {
		if json.Valid(b) && !utf8.Valid(b) {
			return bytes.ToValidUTF8(b, []byte("\ufffd"))
		}
		return b
	})).like("encoding/json's default"),
	queue("escapes-html", "A07", "escapes < and > in payloads", payloads(func(b []byte) []byte {
		return bytes.ReplaceAll(bytes.ReplaceAll(b, []byte("<b>"), []byte("&lt;b&gt;")), []byte("\u2028"), []byte("\n"))
	})),
	queue("shallow-parser", "A08", "accepts deep nesting and cannot decode it", bug{admit: func(_ *store, j *job) bool {
		return bytes.Count(j.payload, []byte("[")) < 500 || bytes.Contains(j.payload, []byte(`"`+"....")) || !json.Valid(j.payload)
	}}),
	queue("reorders-keys", "A09", "stores JSON in a normal form", payloads(rewrite(true))).like("a jsonb column"),
	queue("dots-to-underscores", "A10", "rewrites task names", bug{deliver: func(_ *job, d *worker.Delivery) {
		if strings.HasPrefix(d.Task, "a.") {
			d.Task = strings.ReplaceAll(d.Task, ".", "_")
		}
	}}),
	queue("cuts-names", "A10", "cuts task names at 64 bytes", bug{deliver: func(_ *job, d *worker.Delivery) { d.Task = d.Task[:min(len(d.Task), 64)] }}),
	queue("folds-case", "A10", "ignores the case of task names", bug{deliver: func(_ *job, d *worker.Delivery) {
		if len(d.Task) == 2 {
			d.Task = strings.ToLower(d.Task)
		}
	}}),
	queue("lowers-header-keys", "A11", "lower-cases header keys", jobHeaders(func(m map[string]string) map[string]string {
		low := map[string]string{}
		for k, v := range m {
			low[strings.ToLower(k)] = v
		}
		return low
	})).like("watermill TestPubSub passes with it"),
	queue("drops-empty-headers", "A11", "drops headers with an empty value", jobHeaders(func(m map[string]string) map[string]string {
		for k, v := range m {
			if v == "" {
				delete(m, k)
			}
		}
		return m
	})).like("go-cloud drivertest passes with it"),
	queue("few-headers", "A11", "keeps a hundred headers", jobHeaders(func(m map[string]string) map[string]string {
		for k := range m {
			if len(m) <= 100 {
				break
			}
			delete(m, k)
		}
		return m
	})),
	queue("header-is-control", "A11", "uses a header of the user as its own ID", bug{id: func(in core.Intent) string {
		if id := in.Headers().Get("Nats-Msg-Id"); id != "" {
			return id
		}
		return in.ID
	}}),
	queue("retry-loses-headers", "A12", "forgets headers when it stores a retry", bug{verdict: func(j *job, _ worker.Delivery, _ *worker.Verdict) {
		j.headers = core.Headers{}
	}}).like("watermill TestPubSub finds it only by accident"),
	queue("retry-loses-options", "A12", "forgets max attempts when it stores a retry", bug{deliver: func(j *job, d *worker.Delivery) {
		if j.attempt == 3 {
			d.MaxAttempts = 7
		}
	}}),
	queue("header-lost-among-options", "A13", "loses headers of jobs that have a timeout and a deadline", bug{admit: func(_ *store, j *job) bool {
		if j.in.Options.Timeout != 0 && !j.in.Options.Deadline.IsZero() {
			j.headers = core.Headers{}
		}
		return true
	}}),
	queue("strict-decoder", "A14", "does not read messages that have a field it does not know", bug{decode: func(data []byte) (core.Intent, error) {
		if bytes.Contains(data, []byte(`"later"`)) {
			return core.Intent{}, core.ErrInvalid
		}
		return adapter.DecodeIntent(data)
	}}),
}

// rewrite decodes JSON and encodes it again, exactly or with numbers as float64.
func rewrite(exact bool) func([]byte) []byte {
	return func(b []byte) []byte {
		dec := json.NewDecoder(bytes.NewReader(b))
		if exact {
			dec.UseNumber()
		}
		var v any
		if !utf8.Valid(b) || dec.Decode(&v) != nil || !json.Valid(b) {
			return b
		}
		if out, err := core.JSON.Encode(v); err == nil {
			return out
		}
		return b
	}
}
