package celeryexec

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/worker"
)

const (
	maxErrorText  = 4 << 10            // of the reason that is stored with a dead job, in bytes
	counterPrefix = ownPrefix + "run." // see job.counter
	callLimit     = 30 * time.Second
)

// settlement is what takes the place of a message that is acknowledged.
type settlement struct {
	list, command string
	data          []byte // nil for nothing
	keepCount     bool   // the message goes back as it was
}

func (w *Worker) settlementOf(j *job, v worker.Verdict) settlement {
	attempts := j.delivery.Attempt
	switch v.Action {
	case worker.Done:
		return settlement{list: j.list}
	case worker.Dead:
		return settlement{list: w.broker.key(DeadQueue(j.native)), command: "LPUSH", data: deadRecord(j, v)}
	case worker.Interrupted: // it is the next one
		return settlement{list: j.list, command: "RPUSH", data: j.message.copyWith(rand.Text(), attempts-1, time.Time{})}
	case worker.Snoozed, worker.Parked:
		attempts--
	}
	return settlement{list: j.list, command: "LPUSH", data: j.message.copyWith(rand.Text(), attempts, time.Now().Add(v.After))}
}

// deadJob is an element of [DeadQueue].
type deadJob struct {
	Reason  string `json:"reason"`
	Attempt int    `json:"attempt"`
	Queue   string `json:"queue"`
	At      string `json:"at"`
	Message string `json:"message"`
}

func deadRecord(j *job, v worker.Verdict) []byte {
	return encode(deadJob{
		Reason: adapter.ErrorText(v.Err, maxErrorText), Attempt: j.delivery.Attempt, Queue: j.native,
		At: time.Now().UTC().Format(time.RFC3339), Message: string(j.message.raw),
	})
}

// apply does with a job's message what the verdict says. It tries until Redis has
// answered or ctx ends. If the message was given to another worker meanwhile, there is
// nothing to do: that one runs the job.
func (w *Worker) apply(ctx context.Context, j *job, v worker.Verdict) {
	if v.Action == worker.Parked && len(j.message.headers) == 0 {
		v = worker.Verdict{Action: worker.Dead, Err: fmt.Errorf("airlock: celery: %w", errNotMessage)}
	}
	w.settle(ctx, j, w.settlementOf(j, v))
}

// putBack gives a job back that was held for its time.
func (w *Worker) putBack(ctx context.Context, j *job) {
	w.settle(ctx, j, settlement{list: j.list, command: "RPUSH", data: j.message.raw, keepCount: true})
}

func (w *Worker) settle(ctx context.Context, j *job, s settlement) {
	field := w.inHand.settle(j)
	defer w.inHand.remove(j)
	b := w.broker
	keys := []string{b.key(unackedKey), b.key(unackedIndexKey), b.key(j.counter()), s.list}
	drop := "1"
	if s.keepCount {
		drop = "0"
	}
	for pause := retryFirst; ; pause = min(2*pause, retryMost) {
		err := b.run(ctx, settleScript, keys, field, s.data, s.command, drop).Err()
		if ctx.Err() != nil {
			return // the visibility timeout gives the job to another worker
		}
		w.link.note(err)
		if err == nil || !pauseFor(ctx, pause) {
			return
		}
	}
}
