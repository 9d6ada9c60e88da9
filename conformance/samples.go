package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"time"

	"github.com/goairlock/airlock/core"
)

// sampleOption returns a portable option with an ordinary value.
func sampleOption(p *probe, name core.OptionName) core.Option {
	switch name {
	case core.OptionQueue:
		return core.Queue("conformance")
	case core.OptionPriority:
		return core.Priority(7)
	case core.OptionDelay:
		return core.Delay(time.Second)
	case core.OptionMaxAttempts:
		return core.MaxAttempts(3)
	case core.OptionBackoff:
		return core.Backoff(core.Fixed(2 * time.Second))
	case core.OptionTimeout:
		return core.Timeout(time.Minute)
	case core.OptionDeadline:
		return core.Deadline(time.Now().Add(time.Hour))
	case core.OptionID:
		return core.ID(fmt.Sprintf("sample-%x", p.rand.Uint64()))
	case core.OptionUnique:
		return core.Unique(fmt.Sprintf("sample-%x", p.rand.Uint64()))
	case core.OptionHeader:
		return core.Header("Color", "red")
	}
	p.broken("the suite has no sample for option %s", name)
	return core.Option{}
}

// sized returns a payload of exactly n bytes, which is JSON and contains ref.
func sized(ref string, n int) []byte {
	b := bytes.Repeat([]byte("."), n)
	b[0], b[n-1] = '"', '"'
	copy(b[1:n-1], ref)
	return b
}

// sameJSON compares two JSON texts by value: the order of keys does not matter, the
// last of duplicate keys counts, and numbers are compared exactly.
func sameJSON(a, b []byte) bool {
	va, oka := parseJSON(a)
	vb, okb := parseJSON(b)
	return oka && okb && sameValue(va, vb)
}

func parseJSON(b []byte) (v any, ok bool) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	return v, dec.Decode(&v) == nil
}

func sameValue(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for k, v := range a {
			w, ok := b[k]
			if !ok || !sameValue(v, w) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !sameValue(a[i], b[i]) {
				return false
			}
		}
		return true
	case json.Number:
		b, ok := b.(json.Number)
		if !ok {
			return false
		}
		x, okx := new(big.Rat).SetString(a.String())
		y, oky := new(big.Rat).SetString(b.String())
		return okx && oky && x.Cmp(y) == 0
	}
	return a == b
}

// samePayload compares payloads as the harness wants.
func (p *probe) samePayload(sent, got []byte) bool {
	return bytes.Equal(sent, got) || p.h.RewritesJSON && sameJSON(sent, got)
}

// show returns a payload for a message, shortened.
func show(b []byte) string {
	if len(b) <= 80 {
		return fmt.Sprintf("%d bytes %q", len(b), b)
	}
	return fmt.Sprintf("%d bytes %q…%q", len(b), b[:40], b[len(b)-20:])
}
