package natsexec

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/worker"
)

// apply does to the job what the verdict says, if that is not a success. It returns true
// if an acknowledgement is on its way.
func (w *Worker) apply(j *job, v worker.Verdict) (acknowledged bool) {
	switch v.Action {
	case worker.Retry:
		// A short wait is the consumer's. If the consumer's leader moves meanwhile, the
		// new one knows of no wait and delivers after ack_wait: a longer wait would be
		// cut short. So a longer one is a message of its own, and also where waiting
		// jobs would fill the consumer, or where a delivery was not an attempt.
		if _, adopted := j.lease.address(); v.After <= j.source.lease() && !j.source.bounded.Load() && !adopted {
			w.nak(j, v.After)
			return false
		}
		return w.putOff(j, j.attempt, v.After)
	case worker.Snoozed, worker.Parked:
		return w.putOff(j, j.attempt-1, v.After)
	case worker.Interrupted:
		return w.putOff(j, j.attempt-1, 0)
	}
	return w.bury(j, v.Err)
}

// stale returns why the job may no longer be ours, or "": our lease is over, or the
// stream has the message no more, since another worker ended the job.
func (w *Worker) stale(j *job) string {
	const over = "the lease was over before the job had ended: another worker may have it"
	if !j.lease.held() {
		return over
	}
	ctx, cancel := context.WithTimeout(w.settling, tryTimeout)
	defer cancel()
	// Without an answer the clock decides.
	if there, err := stored(ctx, w.conn, w.api, w.stream, j.key.seq); err == nil && !there {
		return "another worker ended the job before it had ended here"
	}
	if !j.lease.held() {
		return over
	}
	return ""
}

// putOff stores the job again as a message that is delivered after a wait, and then
// acknowledges this one. If the worker dies between the two, the job is there twice,
// as after a lost acknowledgement.
func (w *Worker) putOff(j *job, attempts int, wait time.Duration) (acknowledged bool) {
	m := w.copyOf(j, attempts)
	m.Subject = j.msg.Subject
	at := time.Now().Add(wait)
	var err error
	switch {
	case wait > 0 && w.schedules:
		err = w.store(j, w.scheduled(j, m, at))
		if err == nil || !isPermanent(err) {
			break
		}
		fallthrough // the stream no longer takes schedules
	case wait > 0:
		m.Header[notBeforeHeader] = []string{at.UTC().Format(time.RFC3339Nano)}
		err = w.store(j, m)
	default:
		err = w.store(j, m)
	}
	switch {
	case err == nil:
		w.confirm(j, "+ACK")
		return true
	case errors.Is(err, errClaimed):
		w.log(j, "the lease ended while the job was put off: another worker may have it, nothing is done", nil)
	case isPermanent(err):
		w.log(j, "the job cannot be stored again, and so loses an attempt", err)
		w.nak(j, wait)
	default:
		w.log(j, "the job could not be put off: it runs again", err)
	}
	return false
}

// scheduled makes a schedule of a copy of the job's message.
func (w *Worker) scheduled(j *job, copied *nats.Msg, at time.Time) *nats.Msg {
	m := &nats.Msg{Header: nats.Header{}, Data: copied.Data}
	for k, v := range copied.Header {
		m.Header[k] = v
	}
	m.Header[scheduleHeader] = []string{scheduleAt(at)}
	m.Header[scheduleTargetHeader] = []string{copied.Subject}
	own := j.unique
	if own == "" {
		own = ownToken(m.Header.Get(nats.MsgIdHdr))
	}
	m.Subject = w.stream + "." + kindAt + "." + j.source.native + "." + j.delivery.Task + own
	return m
}

// longestWait bounds the wait that the worker asks of a server, which adds it to a
// time in nanoseconds.
const longestWait = 365 * 24 * time.Hour

// wait leaves a message with Airlock-Not-Before in its consumer until it is due. Its
// first delivery is always answered so, and was taken off the attempts when the
// message was made. A further one that is early, since a server forgets waits when it
// restarts, makes a new message.
func (w *Worker) wait(j *job, wait time.Duration) (acknowledged bool) {
	if j.first {
		w.nak(j, wait)
		return false
	}
	return w.putOff(j, j.attempt-1, wait)
}

// nak has the server deliver the message again after a wait. It is not repeated once
// the wait may be over: another worker may have the job by then.
func (w *Worker) nak(j *job, wait time.Duration) {
	w.jobs.leave(j)
	j.lease.drop() // a later sign would end the wait
	until := time.Now().Add(wait)
	reply, _ := j.lease.address()
	ack := fmt.Sprintf(`-NAK {"delay": %d}`, min(wait, longestWait).Nanoseconds())
	may := func() bool { return j.lease.held() && time.Now().Before(until) }
	if err := w.persist(may, func() error { return w.sendAck(w.settling, reply, ack) }); err != nil {
		w.log(j, "the server did not confirm that the job waits: it may run later than asked, or again", err)
	}
}

// confirm acknowledges the job until the server confirms that, and frees its slot. It
// does not need the lease: the job is done, or stored elsewhere. If the server never
// answers, the worker remembers the acknowledgement and sends it for the next delivery.
//
// The slot does not wait for the answer, unless as many acknowledgements as there are
// slots have none.
func (w *Worker) confirm(j *job, ack string) {
	w.jobs.settle(j, ack)
	if over := w.receipts.acknowledge(j, ack); over != nil {
		late := time.NewTimer(settleInSlot)
		defer late.Stop()
		select {
		case <-over:
		case <-late.C:
		}
	}
	w.free(j)
}

// sendAck sends an acknowledgement and waits until the server confirms it.
func (w *Worker) sendAck(ctx context.Context, reply, ack string) error {
	limited, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	_, err := w.conn.RequestMsgWithContext(limited, &nats.Msg{Subject: reply, Data: []byte(ack)})
	return err
}

// The pause between two tries to acknowledge or store something, doubled each time.
const (
	firstTryPause   = 20 * time.Millisecond
	longestTryPause = 500 * time.Millisecond
)

// persist tries at least once. It tries again until that succeeds, the answer is
// final, or may returns false.
func (w *Worker) persist(may func() bool, try func() error) error {
	for pause := firstTryPause; ; pause = min(2*pause, longestTryPause) {
		err := try()
		if err == nil || isPermanent(err) || errors.Is(err, nats.ErrConnectionClosed) || !may() {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-w.settling.Done():
			timer.Stop()
			return err
		}
	}
}

// isPermanent reports an answer that does not change when the request is sent again.
func isPermanent(err error) bool {
	var api *jetstream.APIError
	return isTooLarge(err) || errors.Is(err, nats.ErrBadSubject) || errors.As(err, &api) && permanent[api.ErrorCode]
}

func isTooLarge(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, nats.ErrMaxPayload) ||
		errors.As(err, &api) && (api.ErrorCode == codeTooLarge || api.ErrorCode == codeHeadersTooLarge)
}
