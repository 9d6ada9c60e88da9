package celeryexec

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

const (
	idleFirst  = 5 * time.Millisecond // between two looks for jobs, when there are none
	retryFirst = 50 * time.Millisecond
	retryMost  = 2 * time.Second

	mostFetched = 100    // by one script call
	mostHeld    = 20_000 // jobs that wait for their time in memory

	// counterLife is how long it is known that a run has begun. The message of a worker
	// that has crashed comes back after the visibility timeout.
	counterLife = 7 * 24 * time.Hour
)

// fetcher is the state of fetchLoop, which alone uses it.
type fetcher struct {
	call  int  // number of the last call
	again bool // its answer was lost
	first int  // which queue comes first
}

// fetchLoop takes jobs and starts them until ctx ends.
func (w *Worker) fetchLoop(ctx, recording context.Context) {
	idle, retry := idleFirst, retryFirst
	for {
		free := w.acquire(ctx)
		if free == 0 {
			break
		}
		jobs, err := w.take(free)
		for _, j := range jobs {
			if j.due.After(time.Now()) {
				w.hold(ctx, recording, j)
				continue
			}
			free--
			w.start(recording, j)
		}
		w.release(free)
		switch {
		case err != nil:
			pauseFor(ctx, retry)
			retry = min(2*retry, retryMost)
		case len(jobs) > 0:
			idle, retry = idleFirst, retryFirst
		default:
			pauseFor(ctx, idle)
			idle, retry = min(2*idle, w.opts.PollInterval), retryFirst
		}
	}
	if w.fetch.again { // what was taken goes back
		jobs, _ := w.take(0)
		for _, j := range jobs {
			w.finish(recording, j, worker.Verdict{Action: worker.Interrupted, Err: errStopping})
		}
	}
}

// acquire waits for a free slot and takes all that are free then. It returns 0 if ctx
// ends.
func (w *Worker) acquire(ctx context.Context) (free int) {
	for w.inHand.held() >= mostHeld {
		if !pauseFor(ctx, w.opts.PollInterval) {
			return 0
		}
	}
	if ctx.Err() != nil {
		return 0
	}
	select {
	case <-ctx.Done():
		return 0
	case w.slots <- struct{}{}:
	}
	for free = 1; free < mostFetched; free++ {
		select {
		case w.slots <- struct{}{}:
		default:
			return free
		}
	}
	return free
}

func (w *Worker) release(free int) {
	for range free {
		<-w.slots
	}
}

// pauseFor reports whether ctx is still alive afterwards.
func pauseFor(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// take moves up to n jobs into this worker's hands. It is not interrupted when the
// worker stops: what it takes could only be found again after the visibility timeout.
func (w *Worker) take(n int) ([]*job, error) {
	if !w.fetch.again {
		w.fetch.call++
		w.fetch.first = (w.fetch.first + 1) % len(w.queues)
	}
	b, now := w.broker, time.Now()
	keys := []string{b.key(unackedKey), b.key(unackedIndexKey), b.key(ownPrefix + "fetch." + w.id)}
	args := []any{
		score(now), n, strconv.Itoa(w.fetch.call), b.key(counterPrefix), counterLife.Milliseconds(), now.UTC().Format(time.RFC3339), w.id,
	}
	from := map[string]source{}
	for _, priority := range priorities {
		for i := range w.queues {
			q := w.queues[(w.fetch.first+i)%len(w.queues)]
			list := b.key(listOf(q.native, priority))
			from[list] = q
			keys = append(keys, list)
			args = append(args, b.key(DeadQueue(q.native)), q.native)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	answer, err := b.run(ctx, fetchScript, keys, args...).Slice()
	w.link.note(err)
	if w.fetch.again = err != nil; err != nil {
		return nil, err
	}
	var jobs []*job
	for i := 0; i+5 <= len(answer); i += 5 {
		list, _ := answer[i].(string)
		field, _ := answer[i+1].(string)
		value, _ := answer[i+2].(string)
		tag, _ := answer[i+3].(string)
		runs, _ := answer[i+4].(int64)
		switch q := from[list]; field {
		case "":
			w.reportDead(q)
		case "!":
			w.link.noteList(list, value)
		default:
			j := w.newJob(list, q, tag, value, int(runs))
			if j.field = field; w.inHand.add(j) {
				jobs = append(jobs, j)
			}
		}
	}
	return jobs, nil
}

// newJob returns a job of a value in unacked.
func (w *Worker) newJob(list string, q source, tag, value string, runs int) *job {
	var parts []json.RawMessage
	if json.Unmarshal([]byte(value), &parts) != nil || len(parts) == 0 {
		parts = []json.RawMessage{json.RawMessage("null")} // the script's decoder takes more than ours
	}
	m, err := parseMessage(parts[0])
	j := &job{message: m, tag: tag, list: list, native: q.native}
	j.delivery, j.due = w.deliveryOf(m, tag, q.portable, runs)
	if err != nil {
		j.delivery.EnvelopeErr, j.due = fmt.Errorf("airlock: celery: malformed message: %w: %w", err, core.ErrInvalid), time.Time{}
	}
	return j
}

var errNoTag = fmt.Errorf("airlock: celery: malformed message: no delivery tag: %w", core.ErrInvalid)

// reportDead logs and reports a message that the script has put to the dead jobs.
func (w *Worker) reportDead(q source) {
	run := worker.Run{
		Delivery: worker.Delivery{Queue: q.portable, EnvelopeErr: errNoTag},
		Verdict:  worker.Verdict{Action: worker.Dead, Err: errNoTag},
	}
	adapter.LogRun(context.Background(), w.opts.Logger, run)
	w.reg.Report(w.drain.Context(), run)
}

// start runs a job whose time has come, in a slot that is taken. A job that was due
// later when it was fetched has not begun for the script.
func (w *Worker) start(recording context.Context, j *job) {
	if j.delivery.EnvelopeErr != nil || isNull(j.message.headers, "eta") {
		w.begin(recording, j)
		return
	}
	w.loops.Go(func() { // a stop waits until it is known whether the run counts
		if !w.count(recording, j) {
			w.inHand.remove(j)
			<-w.slots
			return
		}
		w.begin(recording, j)
	})
}

// count notes in Redis that the run of a job begins. It returns false if another
// worker has the job.
func (w *Worker) count(recording context.Context, j *job) bool {
	b := w.broker
	keys := []string{b.key(unackedKey), b.key(unackedIndexKey), b.key(j.counter())}
	for pause := retryFirst; ; pause = min(2*pause, retryMost) {
		field := w.inHand.fieldOf(j)
		runs, err := b.run(recording, beginScript, keys, field, score(time.Now()), counterLife.Milliseconds()).Int()
		if recording.Err() != nil {
			return false
		}
		w.link.note(err)
		if err == nil && runs == 0 && field != w.inHand.fieldOf(j) {
			continue // it was given to this worker again meanwhile
		}
		if err == nil {
			j.delivery.Attempt += runs // which was the number of earlier attempts
			return runs > 0
		}
		if !pauseFor(recording, pause) {
			return false
		}
	}
}
