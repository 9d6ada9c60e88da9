package nats_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// A freezer freezes a client at the write that has a text, as if its process stopped there. What follows waits too.
type freezer struct {
	text   []byte
	once   sync.Once
	frozen chan struct{} // closed when it has stopped
	thawed chan struct{} // closed when it may go on
}

func (f *freezer) Dial(network, address string) (net.Conn, error) {
	conn, err := net.Dial(network, address)
	return &frozenConn{conn, f}, err
}

type frozenConn struct {
	net.Conn
	f *freezer
}

func (c *frozenConn) Write(p []byte) (int, error) {
	if bytes.Contains(p, c.f.text) {
		c.f.once.Do(func() { close(c.f.frozen) })
		<-c.f.thawed
	}
	return c.Conn.Write(p)
}

// Worker A has the lease when it publishes the copy of its job, and is frozen before a byte of it leaves. B gets the job
// meanwhile.
func TestACopyOfAFrozenWorkerIsNotStored(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		answer error
		opts   []core.Option
		text   string
		short  bool // the server has no fence for a short wait, which is no copy
	}{
		"fails":      {answer: errors.New("again"), text: "-NAK", short: true},
		"fails late": {answer: errors.New("again"), opts: []core.Option{core.Backoff(core.Fixed(time.Hour))}, text: "HPUB JOBS.at."},
		"permanent":  {answer: worker.Permanent(errors.New("never")), text: "HPUB JOBS.dead."},
		"snooze":     {answer: worker.Snooze(time.Minute), text: "HPUB JOBS.at."},
	} {
		for _, done := range []bool{true, false} {
			if tc.short && !done {
				continue
			}
			t.Run(name+map[bool]string{true: ", the new owner is done", false: ", the new owner is still running"}[done], func(t *testing.T) {
				t.Parallel()
				w := setup(t, &options{AckWait: 2 * time.Second})
				var starts atomic.Int64
				ice := &freezer{text: []byte(tc.text), frozen: make(chan struct{}), thawed: make(chan struct{})}
				thaw := sync.OnceFunc(func() { close(ice.thawed) })
				t.Cleanup(thaw)
				far := connect(t, w.conn.ConnectedUrl(), nats.SetCustomDialer(ice))
				w.workOn(far, w.opts, worker.Handle(w.task, func(context.Context, string) error { starts.Add(1); return tc.answer }))
				w.send(w.intent("a", append(tc.opts, core.MaxAttempts(9))...))
				next(w, ice.frozen)

				began, finish := make(chan int, 10), make(chan struct{})
				stopB := w.workOn(w.js, w.opts, worker.Handle(w.task, func(ctx context.Context, _ string) error {
					job, _ := worker.JobFrom(ctx)
					starts.Add(1)
					began <- job.Attempt
					<-finish
					return nil
				}))
				if got := next(w, began); got != 2 {
					t.Errorf("attempt %d", got)
				}
				if done {
					close(finish)
					w.wantStored("JOBS.>", 0)
				}
				thaw()
				w.must(far.Conn().FlushWithContext(w.ctx)) // the server has what A wrote
				if !done {
					w.wantStored("JOBS.>", 1)
					close(finish)
				}
				w.wantStored("JOBS.>", 0)
				time.Sleep(500 * time.Millisecond)
				w.must(stopB())
				if got := starts.Load(); got != 2 || w.stored("JOBS.>") != 0 {
					t.Errorf("the job began %d times, want 2", got)
				}
			})
		}
	}
}

// A worker that died between the copy and the acknowledgement leaves both. The next one does not run the job as well.
func TestAJobThatHasACopyAlreadyIsNotRun(t *testing.T) {
	t.Parallel()
	w := setup(t, &options{AckWait: time.Second})
	w.send(w.intent("a"))
	consumer, err := w.js.CreateConsumer(w.ctx, streamName, jetstream.ConsumerConfig{
		Durable: "default", Name: "default", FilterSubject: "JOBS.job.default.>", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Second,
	})
	w.must(err)
	batch, err := consumer.Fetch(1)
	w.must(err)
	m := <-batch.Messages()
	meta, err := m.Metadata()
	w.must(err)
	copied := nats.NewMsg("JOBS.dead.default.test.work")
	copied.Data = m.Data()
	copied.Header.Set("Airlock-Envelope", m.Headers().Get("Airlock-Envelope"))
	copied.Header.Set("Airlock-Reason", "never")
	copied.Header.Set("Nats-Msg-Id", m.Headers().Get("Nats-Msg-Id")+" "+strconv.FormatUint(meta.Sequence.Stream, 10))
	_, err = w.js.PublishMsg(w.ctx, copied)
	w.must(err)
	ran := make(chan string, 10)
	logged := w.hear()
	stop := w.work(func(_ context.Context, arg string) error { ran <- arg; return nil })
	logged.await(w, "it is not run")
	w.wantStored("JOBS.job.>", 0)
	w.wantStored("JOBS.>", 1)
	w.must(stop())
	if len(ran) > 0 {
		t.Errorf("ran %s", <-ran)
	}
}

// A consumer that is made anew counts deliveries from 1. What was claimed under the old one must not cost a job.
func TestAClaimOfADeletedConsumerLosesNothing(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]error{"permanent": worker.Permanent(errors.New("never")), "snooze": worker.Snooze(time.Hour)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := setup(t, nil)
			in := w.intent("a")
			w.send(in)
			claim := nats.NewMsg("JOBS.claim.default.1")
			claim.Header.Set("Nats-Msg-Id", in.ID+" 1")
			stored, err := w.js.PublishMsg(w.ctx, claim)
			w.must(err)
			stream, err := w.js.Stream(w.ctx, streamName)
			w.must(err)
			w.must(stream.DeleteMsg(w.ctx, stored.Sequence))
			ran := make(chan string, 10)
			w.work(func(_ context.Context, arg string) error { ran <- arg; return answer })
			next(w, ran)
			w.wantStored("JOBS.job.>", 0)
			w.wantStored("JOBS.>", 1)
		})
	}
}
