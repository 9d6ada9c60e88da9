package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

var fidelityChecks = []check{
	{id: "A01", level: Core, run: allBytes,
		title: "every byte value arrives unchanged, or is refused",
		why:   "a payload that is cut at NUL or trimmed is not what the customer ordered"},
	{id: "A02", level: Core, run: emptyValues,
		title: "empty, null, {} and \"\" remain different",
		why:   "otherwise a handler acts on zero values"},
	{id: "A03", level: Core, run: sizes,
		title: "payloads up to the declared limit arrive complete; larger ones are ErrTooLarge",
		why:   "otherwise the largest customer finds the limit in production"},
	{id: "A04", level: Core, run: numbers,
		title: "numbers keep every digit",
		why:   "identifiers above 2^53 change when they are decoded as float64"},
	{id: "A05", level: Core, run: undecodable,
		title: "a job whose arguments are not in the codec's format is dead immediately and does not block other jobs",
		why:   "a job that no version can read must not be retried for days or block the queue"},
	{id: "A06", level: Core, run: badUTF8,
		title: "invalid UTF-8 is kept or refused, never changed",
		why:   "file names and old text are bytes, and replacing some with U+FFFD loses data"},
	{id: "A07", level: Core, run: unicode,
		title: "text arrives with the same code points",
		why:   "normalised or escaped text is no longer equal to what is in the database"},
	{id: "A08", level: Core, run: nesting,
		title: "deeply nested values arrive or are refused",
		why:   "a job that is accepted and cannot be decoded never runs"},
	{id: "A09", level: Core, run: sameText,
		title: "JSON arrives as the same bytes, or as equal JSON if the harness says so",
		why:   "signatures and hashes of a payload depend on its bytes"},
	{id: "A10", level: Core, run: namesApart,
		title: "two task names never reach the same handler",
		why:   "if a name is changed on the way, the wrong code runs"},
	{id: "A11", level: Options, run: headersExact,
		title: "headers arrive unchanged, and none of them controls the backend",
		why:   "a header of the user must not be taken for one of the backend"},
	{id: "A12", level: Core, run: attemptsEqual,
		title: "every attempt sees the same job",
		why:   "a retry without its headers or payload cannot succeed"},
	{id: "A13", level: Core, run: randomJobs,
		title: "random jobs arrive as they were sent",
		why:   "users send combinations that nobody has thought of"},
	{id: "A14", level: Options, run: golden,
		title: "messages of earlier releases can be read",
		why:   "queues are not empty when a new release is deployed"},
}

// arrive sends payloads, one by one and as a batch, and compares what the handlers
// get. With mayRefuse the executor may refuse them as invalid.
func (s *subject) arrive(mayRefuse bool, payloads ...[]byte) {
	s.arriveBy(single, mayRefuse, payloads)
	s.arriveBy(batch, mayRefuse, payloads)
}

func (s *subject) arriveBy(m mode, mayRefuse bool, payloads [][]byte) {
	jobs := make([]job, len(payloads))
	want := map[string][]byte{}
	for i := range payloads {
		jobs[i] = s.makeRaw(payloads[i])
		want[jobs[i].ref] = bytes.Clone(payloads[i])
	}
	outs := s.send(m, jobs...)
	if m == batch && mayRefuse && slices.ContainsFunc(outs, rejected) {
		return // nothing of a refused call is sent; they were sent one by one before
	}
	var sent []job
	for i, o := range outs {
		switch {
		case o.State == core.Accepted:
			sent = append(sent, jobs[i])
		case mayRefuse && rejected(o) && (errors.Is(o.Err, core.ErrInvalid) || errors.Is(o.Err, core.ErrTooLarge)):
			s.p.witness("refused", 1)
		default:
			s.p.fail("accepted, or rejected as invalid, "+string(m), "%s: %v: %v", show(payloads[i]), o.State, o.Err)
		}
	}
	s.awaitRuns(sent)
	for _, j := range sent {
		for _, r := range s.runsOf(j.ref) {
			if !s.p.samePayload(want[j.ref], r.Body) {
				s.p.fail("the payload as it was sent, "+string(m)+": "+show(want[j.ref]), "%s", show(r.Body))
			}
		}
	}
}

func rejected(o core.Outcome) bool { return o.State == core.Rejected }

func allBytes(p *probe) {
	s := p.open(Setup{})
	every := make([]byte, 256)
	payloads := [][]byte{every}
	for i := range every {
		every[i] = byte(i)
		payloads = append(payloads, []byte{byte(i)})
	}
	for _, edge := range []string{"  space  ", "\ttab\t", "line\r\n", "\n\nlines\n\n", "nul\x00", "\x00nul", "a\x00b", "\xef\xbb\xbfmark"} {
		payloads = append(payloads, []byte(edge))
	}
	s.arrive(true, payloads...)
}

func emptyValues(p *probe) {
	s := p.open(Setup{})
	s.arrive(true, nil)
	s.arrive(true, []byte{})
	for _, text := range []string{`null`, `{}`, `""`, `[]`, `0`, `false`, `[null]`, `{"":null}`} {
		s.arrive(false, []byte(text))
	}
}

func sizes(p *probe) {
	s := p.open(Setup{})
	most := s.caps.MaxPayload
	ladder := []int{3, 1 << 10, 64<<10 - 1, 64 << 10, 64<<10 + 1, 256 << 10, 1<<20 - 1, 1 << 20, 1<<20 + 1}
	if most > 0 && most <= 16<<20 {
		ladder = append(ladder, most-1, most, most+1)
	}
	slices.Sort(ladder)
	ladder = slices.Compact(ladder)
	variants := []string{"alone"}
	if s.honours(core.OptionHeader) {
		variants = append(variants, "with headers")
	}
	if s.honours(core.OptionID) {
		variants = append(variants, "with an ID")
	}
	// Each variant has the same payloads: what is equal is not the same job.
	start := fmt.Sprint(p.rand.Uint32())
	for _, what := range variants {
		refusedAt := 0
		for _, n := range ladder {
			var opts []core.Option
			switch what {
			case "with headers":
				opts = []core.Option{core.Header("Filler", strings.Repeat("h", 1000))}
			case "with an ID":
				opts = []core.Option{sampleOption(p, core.OptionID)}
			}
			payload := sized(start, n)
			j := s.makeRaw(payload, opts...)
			o := s.send(single, j)[0]
			tooLarge := rejected(o) && errors.Is(o.Err, core.ErrTooLarge)
			switch {
			case !tooLarge && o.State != core.Accepted:
				p.fail("accepted, or rejected as ErrTooLarge", "%d bytes %s: %v: %v", n, what, o.State, o.Err)
			case most > 0 && n <= most && tooLarge:
				p.fail(fmt.Sprintf("up to %d bytes are accepted, as declared", most), "%d bytes %s are refused", n, what)
			case most > 0 && n > most && !tooLarge:
				p.fail(fmt.Sprintf("more than %d bytes are refused, as declared", most), "%d bytes %s are accepted", n, what)
			case !tooLarge && refusedAt > 0:
				p.fail("a payload that is larger than a refused one is refused too", "%d bytes %s are refused, %d accepted", refusedAt, what, n)
			case tooLarge:
				refusedAt = n
				continue
			}
			s.awaitRuns([]job{j})
			if r := s.runsOf(j.ref)[0]; !p.samePayload(payload, r.Body) {
				p.fail(fmt.Sprintf("%d bytes %s arrive whole", n, what), "%s", show(r.Body))
			}
		}
	}
}

// arriveJSON is arrive for bodies of jobArgs, which pass through the JSON codec.
func (s *subject) arriveJSON(mayRefuse bool, bodies ...string) {
	for _, m := range modes {
		jobs := make([]job, len(bodies))
		want := map[string][]byte{}
		for i, body := range bodies {
			jobs[i] = s.makeBody(nil, json.RawMessage(body))
			var args jobArgs
			if err := json.Unmarshal(jobs[i].in.Payload(), &args); err != nil {
				s.p.broken("payload: %v", err)
			}
			want[jobs[i].ref] = args.Body
		}
		var sent []job
		outs := s.send(m, jobs...)
		if m == batch && mayRefuse && slices.ContainsFunc(outs, rejected) {
			continue
		}
		for i, o := range outs {
			if o.State == core.Accepted {
				sent = append(sent, jobs[i])
			} else if !mayRefuse || !rejected(o) || !errors.Is(o.Err, core.ErrInvalid) {
				s.p.fail("accepted, "+string(m), "%s: %v: %v", show([]byte(bodies[i])), o.State, o.Err)
			}
		}
		s.awaitRuns(sent)
		for _, j := range sent {
			for _, r := range s.runsOf(j.ref) {
				if !s.p.samePayload(want[j.ref], r.Body) {
					s.p.fail("the value as it was sent, "+string(m)+": "+show(want[j.ref]), "%s", show(r.Body))
				}
			}
		}
	}
}

func numbers(p *probe) {
	s := p.open(Setup{})
	bodies := []string{"0", "-0", "1e-7", "0.1", "1.0", "1E400", "123456789012345678901234567890.123456789"}
	for _, n := range []int64{1<<53 + 1, math.MaxInt64, math.MinInt64, -1 << 53} {
		bodies = append(bodies, fmt.Sprint(n), fmt.Sprintf(`{"n":%d}`, n))
	}
	bodies = append(bodies, fmt.Sprint(uint64(math.MaxUint64)))
	if p.h.RewritesJSON { // a jsonb column has no negative zero
		bodies = slices.DeleteFunc(bodies, func(b string) bool { return b == "-0" })
	}
	s.arriveJSON(p.h.RefusesJSON, bodies...)
}

func unicode(p *probe) {
	s := p.open(Setup{})
	for _, text := range []string{
		"caf\u00e9", "cafe\u0301", // composed and decomposed
		"👩‍👩‍👧‍👦", "\u202eright to left", "line\u2028and\u2029paragraph", "<b>&amp;</b>", "\ufeffmark", "\U0010ffff", "\ufffd", "\u00a0 \u200b",
	} {
		b, err := core.JSON.Encode(text)
		if err != nil {
			p.broken("encode: %v", err)
		}
		s.arriveJSON(false, string(b))
	}
	s.arriveJSON(true, `"\ud800"`)
	s.arriveJSON(true, `"nul \u0000 escaped"`)
}

func nesting(p *probe) {
	s := p.open(Setup{})
	for _, deep := range []int{100, 1000, 9900} {
		s.arriveJSON(true, strings.Repeat("[", deep)+strings.Repeat("]", deep))
	}
	tooDeep := json.RawMessage(strings.Repeat("[", 10001) + strings.Repeat("]", 10001))
	if _, err := s.ledger.job.Intent(jobArgs{Ref: "deep", Body: tooDeep}); !errors.Is(err, core.ErrInvalid) {
		p.fail("nesting that cannot be decoded is ErrInvalid", "%v", err)
	}
}

func sameText(p *probe) {
	s := p.open(Setup{})
	s.arrive(p.h.RefusesJSON, []byte(`{"z": 1, "a":2,  "m":{"b":[1 , 2],"a":null}}`), []byte("{\"a\":1,\n\t\"a\":2}"), []byte(` [1, 2 ,3] `))
}

func badUTF8(p *probe) {
	s := p.open(Setup{})
	for _, text := range []string{"\"a\xffb\"", "{\"k\xc0\":1}", "\"\xed\xa0\x80\"", "\"cut \xe2\x82\""} {
		s.arrive(true, []byte(text))
	}
}

// countedCodec fails to decode, and counts how often it is called.
type countedCodec struct {
	core.Codec
	asked *atomic.Int64
}

func (c countedCodec) Decode([]byte, any) error {
	c.asked.Add(1)
	return fmt.Errorf("conformance: not in the format of the codec: %w", core.ErrMalformed)
}

func undecodable(p *probe) {
	asked := new(atomic.Int64)
	name := "conformance.undecodable"
	task := core.NewTask(name, func(context.Context, string) error { return nil }).Codec(countedCodec{core.JSON, asked})
	s := p.open(Setup{Slots: 1}, worker.Handle(task, task.Func()))
	in, err := task.Intent("poison")
	if err != nil {
		p.broken("intent: %v", err)
	}
	poison := job{s.newRef(), in}
	s.expect(poison.ref, in, nil)
	s.push(single, poison)
	jobs := s.makeN(10)
	s.accept(single, jobs...)
	s.awaitRuns(jobs)
	s.hush()
	p.sleep(p.settle())
	switch n := asked.Load(); {
	case n == 0:
		p.inconclusive("no worker tried to decode the job")
	case n > 1:
		p.fail("arguments that cannot be decoded are decoded once, then the job is dead", "%d attempts", n)
	}
}
