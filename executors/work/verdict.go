package workexec

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/gocraft/work"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/worker"
)

var (
	errUsedUp        = errors.New("airlock: work: attempts used up; the last worker never answered")
	errNeverAnswered = errors.New("airlock: work: the worker that ran this attempt never answered")
	errUnanswered    = errors.New("airlock: work: fetched, but the answer of Redis was lost")
	errStopping      = fmt.Errorf("airlock: work: fetched while the worker stops: %w", worker.ErrStopping)
)

// read returns a job in progress, or one that is bad.
func (w *Worker) read(l *list, text string) *held {
	h, err := deliveryOf(l, text)
	if err != nil {
		return &held{list: l, text: text, bad: err, delivery: buriedDelivery(l, text)}
	}
	return h
}

// process runs a job that is in progress and applies the verdict. The caller has counted
// it in w.unrecorded. It returns the next job of the slot, which is counted too, or nil.
func (w *Worker) process(h *held) (next *held) {
	defer w.unrecorded.add(-1)
	end, ok := w.drain.Begin(&h.delivery)
	if !ok {
		end = func() {}
	}
	began := time.Now()
	v, run := w.withoutRun(h, !ok)
	if !run {
		end()
		return w.finish(h, v, 0, true)
	}
	w.releaseNativeKey(h)
	returned := false
	w.unrecorded.add(-1)
	defer func() {
		w.unrecorded.add(1) // before the drain may believe that all is over
		end()
		took := time.Since(began)
		if !returned { // the handler ended this goroutine
			v = h.delivery.Exited()
			w.reg.Report(w.drain.Context(), worker.Run{Delivery: h.delivery, Verdict: v, Took: took})
		}
		next = w.finish(h, v, took, returned)
	}()
	v = w.reg.Perform(w.drain.Context(), h.delivery)
	returned = true
	return nil
}

// withoutRun returns the verdict on a job whose handler is not called, or that it is.
func (w *Worker) withoutRun(h *held, stopping bool) (v worker.Verdict, run bool) {
	switch {
	case h.bad != nil:
		v = worker.Verdict{Action: worker.Dead, Err: h.bad}
	case w.remembered.has(h):
		w.log.LogAttrs(context.Background(), slog.LevelInfo, "airlock: work: job not run again, it succeeded here", slog.Any("job", h.delivery))
		return worker.Verdict{Action: worker.Done}, false
	case stopping:
		v = worker.Verdict{Action: worker.Interrupted, Err: errStopping}
	case h.delivery.Attempt > h.delivery.MaxAttempts:
		v = worker.Verdict{Action: worker.Dead, Err: errUsedUp}
	default:
		return v, true
	}
	w.reg.Report(context.Background(), worker.Run{Delivery: h.delivery, Verdict: v})
	return v, false
}

// releaseNativeKey does what the library does with a job of its EnqueueUnique when
// the job begins. An error is logged by outageLog: the key ends after a day.
func (w *Worker) releaseNativeKey(h *held) {
	if !h.message.Unique || w.native != nil {
		return
	}
	key := bytes.NewBufferString(h.list.prefix + "unique:" + h.list.name + ":")
	if job, ok := h.delivery.Native.(*work.Job); ok && job.Args != nil && json.NewEncoder(key).Encode(job.Args) != nil {
		return
	}
	_, _ = w.do(context.Background(), "release a native unique key", func(do doer) (any, error) { return do("DEL", key.Bytes()) })
}

// finish applies the verdict, unless this worker no longer owns the job, and
// logs what became of it. With more it may return the next job for the slot.
func (w *Worker) finish(h *held, v worker.Verdict, took time.Duration, more bool) (next *held) {
	defer w.fetched.add(h.list, h.text, -1)
	h.answer = v.Err
	if w.hasEnded() { // the job was put back, since nobody could wait any longer
		return nil
	}
	more = more && w.native == nil && !w.over()
	result, next := w.record(h, w.transitionOf(h, v, time.Now()), more)
	switch result {
	case recorded:
		adapter.LogRun(context.Background(), w.log, worker.Run{Delivery: h.delivery, Verdict: v, Took: took})
	case notOwner:
		w.logVerdict("airlock: work: the job was given to another worker meanwhile, this verdict is dropped", h, v, took)
	case unrecorded:
		w.logVerdict("airlock: work: the verdict could not be recorded, the job may run again", h, v, took)
	}
	return next
}

func (w *Worker) logVerdict(text string, h *held, v worker.Verdict, took time.Duration) {
	w.log.LogAttrs(context.Background(), slog.LevelWarn, text,
		slog.Any("job", h.delivery), slog.String("verdict", v.Action.String()), slog.Duration("took", took))
}

func (w *Worker) hasEnded() bool {
	select {
	case <-w.ended:
		return true
	default:
		return false
	}
}

// transition is where a job goes from its worker's in-progress list.
type transition struct {
	to   destination
	text []byte // what is stored there
	at   int64  // in a sorted set
	hold int64  // for how many more milliseconds its unique key is locked; 0 frees it
}

type destination string

const (
	nowhere destination = ""      // it is done
	first   destination = "first" // the next of its list
	retries destination = "retry"
	dead    destination = "dead"
)

// transitionOf returns what the verdict makes of a job.
func (w *Worker) transitionOf(h *held, v worker.Verdict, now time.Time) transition {
	if h.bad != nil {
		return transition{to: dead, text: deadRecord(h.list.name, h.text, h.bad), at: now.Unix()}
	}
	m := h.message
	switch v.Action {
	case worker.Done:
		return transition{}
	case worker.Interrupted:
		return transition{to: first, text: []byte(h.text), hold: milliseconds(lockFor)}
	case worker.Parked:
		return later(&m, now, w.opts.ParkFor)
	case worker.Snoozed:
		return later(&m, now, v.After)
	}
	m.Fails, m.FailedAt, m.Err = int64(h.delivery.Attempt), now.Unix(), adapter.ErrorText(v.Err, maxErrorText)
	switch {
	case v.Action == worker.Dead:
		if errors.Is(v.Err, errUsedUp) {
			m.Fails-- // no attempt was begun
		}
		return transition{to: dead, text: m.encode(), at: now.Unix()}
	case v.After > 0:
		return later(&m, now, v.After)
	default:
		return later(&m, now, librarysBackoff(m.Fails))
	}
}

// maxErrorText bounds an error in Redis, in bytes.
const maxErrorText = 4000

// later is among the retries, for wait at least.
func later(m *message, now time.Time, wait time.Duration) transition {
	due := adapter.RoundUpTime(now.Add(wait), time.Second)
	return transition{to: retries, text: m.encode(), at: due.Unix(), hold: milliseconds(due.Sub(now) + lockFor)}
}

// librarysBackoff is the library's own schedule, which it does not export. It ends
// at some 90 years, which is what a Duration can hold.
func librarysBackoff(fails int64) time.Duration {
	fails = min(fails, 230)
	return time.Duration(fails*fails*fails*fails+15+rand.Int64N(30)*(fails+1)) * time.Second
}
