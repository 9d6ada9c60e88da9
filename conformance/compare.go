package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/goairlock/airlock/core"
)

// sentForms keeps what was sent of each job of a check. A job has several forms if a
// check sends it again with other options.
type sentForms struct {
	mu      sync.Mutex
	byRef   map[string][]core.Intent
	limited bool     // some call had a context with a deadline
	altered []string // runs that saw something else
}

// note adds a form of a job before it is sent.
func (f *sentForms) note(ref string, in core.Intent) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.byRef == nil {
		f.byRef = map[string][]core.Intent{}
	}
	if !slices.ContainsFunc(f.byRef[ref], func(known core.Intent) bool { return sameIntent(known, in) }) {
		f.byRef[ref] = append(f.byRef[ref], in)
	}
}

// called notes whether the context of a call has a deadline.
func (f *sentForms) called(ctx context.Context) {
	if ctx == nil {
		return
	}
	if _, has := ctx.Deadline(); has {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.limited = true
	}
}

func sameIntent(a, b core.Intent) bool {
	return a.ID == b.ID && a.Task == b.Task && a.Options == b.Options && bytes.Equal(a.Payload(), b.Payload()) &&
		maps.Equal(maps.Collect(a.Headers().All()), maps.Collect(b.Headers().All()))
}

// compare notes what a run that begins has not got as it was sent. It must have got
// one of the forms of its job. secret is that of the arguments, unless they are raw.
func (f *sentForms) compare(r *run, secret string) {
	f.mu.Lock()
	forms, limited := f.byRef[r.Ref], f.limited
	f.mu.Unlock()
	what := ""
	for _, in := range forms {
		if what = r.unlike(&in, secret, limited); what == "" {
			return
		}
	}
	if what == "" {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.altered) < 20 {
		f.altered = append(f.altered, fmt.Sprintf("run %d of %s: %s", r.ordinal, r.Ref, what))
	}
}

func (f *sentForms) found() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.altered)
}

// unlike says in what a run that begins differs from an intent, "" if in nothing.
// limited says that an executor that runs jobs itself may have been called with a
// context that has a deadline.
func (r *run) unlike(in *core.Intent, secret string, limited bool) string {
	l := r.ledger
	o, j := in.Options, r.Job
	switch {
	case j.Task != in.Task:
		return fmt.Sprintf("the task is %q and not %q", j.Task, in.Task)
	case j.ID != in.ID:
		return fmt.Sprintf("the ID is %q and not %q", j.ID, in.ID)
	case j.Attempt < 1:
		return fmt.Sprintf("it is attempt %d", j.Attempt)
	case o.Queue != "" && j.Queue != o.Queue && l.keeps(core.OptionQueue):
		return fmt.Sprintf("the queue is %q and not %q", j.Queue, o.Queue)
	case o.Queue == "" && l.isOther(j.Queue):
		return fmt.Sprintf("the queue is %q and not the default queue", j.Queue)
	case r.ordinal == 1 && o.At.Sub(r.Began) > l.p.h.Skew && l.p.check.level != Inspect:
		return fmt.Sprintf("it begins %v early", o.At.Sub(r.Began))
	}
	if what := r.unlikeAttempts(o.MaxAttempts); what != "" {
		return what
	}
	if what := r.unlikeLimits(&o, limited); what != "" {
		return what
	}
	if what := unlikeHeaders(in, r); what != "" {
		return what
	}
	return r.unlikePayload(in, secret)
}

// keeps reports whether the ledger's executor honours an option.
func (l *ledger) keeps(name core.OptionName) bool {
	switch l.caps().Options[name].Support {
	case core.SupportNative, core.SupportEmulated:
		return true
	}
	return false
}

// caps are those of the ledger's system, and zero before it is open.
func (l *ledger) caps() core.Capabilities {
	if c := l.claims.Load(); c != nil {
		return *c
	}
	return core.Capabilities{}
}

// isOther reports whether a queue is one of those that the check uses besides the
// default queue.
func (l *ledger) isOther(queue string) bool {
	return queue != "" && queue != "default" && len(l.setup.NativeNames) == 0 && slices.Contains(l.setup.Queues, queue)
}

// unlikeAttempts compares the number of attempts. An inspector's Retry may have
// changed it.
func (r *run) unlikeAttempts(want int) string {
	got, usual := r.Job.MaxAttempts, r.ledger.caps().DefaultAttempts
	switch {
	case r.ledger.p.check.level == Inspect && r.ordinal > 1:
	case want > 0 && got != want && r.ledger.keeps(core.OptionMaxAttempts):
		return fmt.Sprintf("max attempts are %d and not %d", got, want)
	case want == 0 && usual > 0 && got != 0 && got != usual:
		return fmt.Sprintf("max attempts are %d and not the %d that are declared", got, usual)
	}
	return ""
}

// unlikeLimits compares the end of the run's context with the timeout and the
// deadline.
func (r *run) unlikeLimits(o *core.Options, limited bool) string {
	l := r.ledger
	p, caps := l.p, l.caps()
	end, has := r.ctx.Deadline()
	var want time.Time
	grain := time.Duration(0)
	if o.Timeout > 0 && l.keeps(core.OptionTimeout) {
		want, grain = r.Began.Add(o.Timeout), caps.Options[core.OptionTimeout].Granularity
	}
	if !o.Deadline.IsZero() && l.keeps(core.OptionDeadline) {
		coarse := caps.Options[core.OptionDeadline].Granularity
		if r.Began.Sub(o.Deadline) > coarse+p.h.Skew+p.slack() {
			return fmt.Sprintf("it begins %v after its deadline", r.Began.Sub(o.Deadline))
		}
		if grain = max(grain, coarse); want.IsZero() || o.Deadline.Before(want) {
			want = o.Deadline
		}
	}
	own := !l.inline.Load() || !limited // no deadline of the caller's
	switch {
	case want.IsZero() && has && own:
		return fmt.Sprintf("its context ends after %v, and it has no limit", end.Sub(r.Began))
	case want.IsZero():
	case !has:
		return "its context does not end"
	case end.Sub(want) > grain+p.h.Skew:
		return fmt.Sprintf("its context ends %v later than at its limit of %v", end.Sub(want), want.Sub(r.Began))
	case want.Sub(end) > grain+p.h.Skew+p.patienceForStart() && own:
		return fmt.Sprintf("its context ends %v before its limit of %v", want.Sub(end), want.Sub(r.Began))
	}
	return ""
}

// patienceForStart is how long a handler may be called after its context was made.
func (p *probe) patienceForStart() time.Duration {
	if p.bubble {
		return p.slack()
	}
	return p.patience()
}

// unlikeHeaders compares headers. An executor may add others with the reserved prefix.
func unlikeHeaders(in *core.Intent, r *run) string {
	want, got := in.Headers(), r.Job.Headers
	for k, v := range want.All() {
		if !got.Has(k) {
			return fmt.Sprintf("it has no header %s, and %d others", k, got.Len())
		}
		if g := got.Get(k); g != v {
			return fmt.Sprintf("header %s has %d bytes that are not those %d that were sent", k, len(g), len(v))
		}
	}
	for k := range got.All() {
		if !want.Has(k) && !strings.HasPrefix(k, "Airlock-") {
			return fmt.Sprintf("it has a header %s, which nobody set", k)
		}
	}
	return ""
}

func (r *run) unlikePayload(in *core.Intent, secret string) string {
	p, sent := r.ledger.p, in.Payload()
	if in.Task == jobTaskName {
		var args jobArgs
		if err := json.Unmarshal(sent, &args); err != nil {
			return "" // it cannot be decoded
		}
		if args.Secret != secret {
			return fmt.Sprintf("the first of its arguments has %d bytes that are not those %d that were sent", len(secret), len(args.Secret))
		}
		sent = args.Body
	}
	if !p.samePayload(sent, r.Body) {
		return fmt.Sprintf("the payload is %s and not %s", show(r.Body), show(sent))
	}
	return ""
}
