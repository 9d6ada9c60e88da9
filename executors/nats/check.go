package natsexec

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/nats-io/nats.go"
)

// checkEvery is how often a worker looks whether its consumers still fit. Somebody may
// have changed one, or made it anew.
const checkEvery = 15 * time.Second

// sizeHeader is set by a consumer with headers_only in place of the payload.
const sizeHeader = "Nats-Msg-Size"

// A checkedSource is the result of looking for a source's consumer.
type checkedSource struct {
	source *source
	err    error
}

// begin starts a job, unless it seems to come from another consumer than the one that
// was looked at: such a job waits for the next look. A consumer that does not fit could
// have any job buried, for example because it leaves the payload out.
func (f *feeder) begin(d delivery) {
	s := d.source
	before := s.lastSeq
	s.lastSeq = d.meta.Sequence.Consumer
	suspect := d.withoutPayload() || !d.ofSource()
	switch {
	case s.misfit, f.ctx.Err() != nil && suspect:
		f.w.putBack(d)
	case f.ctx.Err() != nil, !suspect && s.lastSeq > before && len(s.held) == 0:
		f.w.start(d)
	default:
		s.held = append(s.held, d)
		s.again = s.checking // that check may have looked before the change
		f.check(s)
	}
}

func (d *delivery) withoutPayload() bool { return d.msg.Header[sizeHeader] != nil }

func (d *delivery) ofSource() bool { return strings.HasPrefix(d.msg.Subject, d.source.prefix) }

// check looks for a source's consumer, creates it if there is none, and finds out
// whether it fits.
func (f *feeder) check(s *source) {
	if s.checking || f.ctx.Err() != nil {
		return
	}
	s.checking = true
	f.w.fetches.Go(func() {
		limited, cancel := context.WithTimeout(f.ctx, askTimeout)
		defer cancel()
		f.checked <- checkedSource{s, f.w.bind(limited, s)}
	})
}

// afterCheck acts on what a check found.
func (f *feeder) afterCheck(c checkedSource) {
	s := c.source
	s.checking, s.checkedAt = false, time.Now()
	if s.again {
		s.again = false
		f.check(s)
		return
	}
	if c.err == nil {
		if s.sick {
			s.sick, s.misfit, s.pause, s.retryAt = false, false, 0, time.Time{}
		}
		held := s.held
		s.held = nil
		for _, d := range held {
			f.w.start(d)
		}
		return
	}
	misfit := errors.Is(c.err, core.ErrInvalid)
	if misfit {
		f.dropHeld(s)
	}
	if misfit || s.sick || len(s.held) > 0 { // else the source works, and is looked at again
		f.failed(s, c.err)
		s.sick, s.misfit = true, misfit
	}
}

// dropHeld puts the jobs back whose consumer does not fit, or was not looked at in time.
func (f *feeder) dropHeld(s *source) {
	for _, d := range s.held {
		f.w.putBack(d)
	}
	s.held = nil
}

// putBack stores a job again as it was, since its consumer does not fit. It is not run and
// keeps its attempts. What is no job of the source stays as it is.
func (w *Worker) putBack(d delivery) {
	w.work.begin() // returns true: Run waits for the feeder first
	go func() {
		if !d.ofSource() || d.withoutPayload() && !w.complete(&d) {
			w.release(1)
			w.work.end()
			return
		}
		j := w.deliveryOf(d.source, d.msg, d.meta)
		if _, admitted := w.jobs.admit(j, d.asked); !admitted {
			w.free(j)
			w.work.end()
			return
		}
		w.settle(j, func() bool {
			return w.claim(j) != decided && w.stale(j) == "" && w.putOff(j, j.attempt-1, 0)
		})
	}()
}

// complete reads the message that a delivery has without its payload.
func (w *Worker) complete(d *delivery) bool {
	ctx, cancel := context.WithTimeout(w.settling, askTimeout)
	defer cancel()
	var answer struct {
		Message storedMessage `json:"message"`
	}
	if ask(ctx, w.conn, w.api+"STREAM.MSG.GET."+w.stream, map[string]uint64{"seq": d.meta.Sequence.Stream}, &answer) != nil {
		return false
	}
	h, err := nats.DecodeHeadersMsg(answer.Message.Header)
	if len(answer.Message.Header) > 0 && err != nil {
		return false
	}
	d.msg = &nats.Msg{Subject: d.msg.Subject, Reply: d.msg.Reply, Header: h, Data: answer.Message.Data, Sub: d.msg.Sub}
	return true
}
