package workexec

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"time"
	"weak"

	"github.com/gocraft/work"
	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/core"
)

const (
	// maxFails is beyond all counting: the worker half decides itself when a job is
	// dead, and then says that it has failed that often.
	maxFails = 1 << 30

	// defaultAttempts is the library's own limit, of JobOptions.MaxFails.
	defaultAttempts = 4
)

var errExhausted = errors.New("airlock: work: more failures than attempts: something around the handler fails the job")

// run is the handler for all tasks of the registry.
func (w *Worker) run(job *work.Job) error {
	if !w.enter(job.ID) {
		return w.settle(job, core.Verdict{Action: core.Snoozed, Err: ErrStopped})
	}
	defer w.leave(job.ID)
	d, lock, err := w.delivery(job)
	var v core.Verdict
	switch {
	case err != nil:
		v = core.Verdict{Action: core.Dead, Err: err}
	case d.Attempt > d.MaxAttempts:
		v = core.Verdict{Action: core.Dead, Err: errExhausted}
	default:
		v = w.reg.Perform(w.ctx, d)
	}
	if v.Action != core.Done && w.ctx.Err() != nil && !core.IsPermanent(v.Err) {
		v = core.Verdict{Action: core.Snoozed, Err: v.Err} // Stop has cut it off
	}
	w.settleLock(lock, job.ID, v)
	return w.settle(job, v)
}

// settle makes the library do with the job what the verdict says.
func (w *Worker) settle(job *work.Job, v core.Verdict) error {
	switch {
	case v.Action == core.Done:
		return nil
	case v.Action == core.Dead:
		job.Fails = maxFails - 1 // the library adds one
	case v.Action == core.Snoozed:
		job.Fails--
		w.waits.put(job, seconds(time.Now(), v.After))
	case v.After > 0:
		w.waits.put(job, seconds(time.Now(), v.After))
	}
	return answer(v.Err)
}

// answer makes an error that the library can print and store: it asks for the
// text where nothing contains a panic, and stores it in JSON.
func answer(err error) error {
	return &failure{text: strings.ToValidUTF8(fmt.Sprintf("%v", err), "\uFFFD"), cause: err}
}

type failure struct {
	text  string
	cause error
}

func (f *failure) Error() string { return f.text }
func (f *failure) Unwrap() error { return f.cause }

// backoff is the library's question how many seconds a failed job waits. It adds
// them to the second of a clock that it has read after the handler's end.
func (w *Worker) backoff(job *work.Job) int64 {
	if wait, ok := w.waits.take(job); ok {
		return wait
	}
	return librarysBackoff(job.Fails)
}

// librarysBackoff is the library's own schedule, which it does not export.
func librarysBackoff(fails int64) int64 {
	return fails*fails*fails*fails + 15 + rand.Int64N(30)*(fails+1)
}

// seconds is how many must be added to the second in which now is, so that wait
// has passed.
func seconds(now time.Time, wait time.Duration) int64 {
	return nextSecond(now.Add(wait)).Unix() - now.Unix()
}

// waits hand the wait of a job over from its handler to backoff, which the library
// calls with the same *work.Job. Where middleware has swallowed the failure nobody
// asks: then the entry goes with the job.
type waits struct{ byJob sync.Map } // weak.Pointer[work.Job] to int64

func (w *waits) put(job *work.Job, seconds int64) {
	key := weak.Make(job)
	w.byJob.Store(key, seconds)
	runtime.AddCleanup(job, func(key weak.Pointer[work.Job]) { w.byJob.Delete(key) }, key)
}

func (w *waits) take(job *work.Job) (int64, bool) {
	if wait, ok := w.byJob.LoadAndDelete(weak.Make(job)); ok {
		return wait.(int64), true
	}
	return 0, false
}

// settleLock releases the lock of a job that has finished, and keeps that of one
// that goes on. A release that fails costs nothing but a look at the job the next
// time when the key is asked for.
func (w *Worker) settleLock(lock, id string, v core.Verdict) {
	if lock == "" {
		return
	}
	hold := int64(0)
	if v.Action == core.Retry || v.Action == core.Snoozed {
		hold = milliseconds(v.After + lockFor)
	}
	conn := w.conn()
	defer conn.Close()
	if _, err := lockScript.Do(conn, w.in.namespace+"airlock:unique:"+lock, id, hold); err != nil {
		w.log.LogAttrs(context.Background(), slog.LevelWarn, "airlock: work: unique key not released", slog.Any("error", &backendError{err}))
	}
}

// lockScript deletes a job's lock, or keeps it for so many milliseconds.
var lockScript = redis.NewScript(1, `
if redis.call("HGET", KEYS[1], "job") == ARGV[1] then
	if ARGV[2] == "0" then
		redis.call("DEL", KEYS[1])
	else
		redis.call("PEXPIRE", KEYS[1], ARGV[2])
	end
end
`)
