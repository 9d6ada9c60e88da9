package natsexec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/adapter"
)

// askTimeout bounds one request to JetStream's interface. A request that was lost
// is never answered.
const askTimeout = 5 * time.Second

// lookAfter is how often something that waits for an answer looks at the
// connection: whether it is the same one, and whether it has an error.
const lookAfter = 50 * time.Millisecond

// request sends a message and waits for one answer, at most for limit. Its error
// is a *deniedError, nats.ErrTimeout after the limit, ctx's own or that of the
// client.
func request(ctx context.Context, conn *nats.Conn, m *nats.Msg, limit time.Duration) (*nats.Msg, error) {
	before, end := conn.LastError(), time.Now().Add(limit)
	waiting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	looking := repeat(min(limit, lookAfter), func() time.Duration {
		if v := violation(conn, before); v != nil && deniedSubject(v) == m.Subject {
			cancel(&deniedError{v})
			return 0
		}
		left := time.Until(end)
		if left <= 0 {
			cancel(nats.ErrTimeout)
			return 0
		}
		return min(left, lookAfter)
	})
	defer looking.stop()
	reply, err := conn.RequestMsgWithContext(waiting, m)
	if err != nil && ctx.Err() == nil && waiting.Err() != nil {
		err = context.Cause(waiting)
	}
	return reply, err
}

// ask sends a request to JetStream's interface and decodes the answer.
func ask(ctx context.Context, conn *nats.Conn, subject string, body, answer any) error {
	m := &nats.Msg{Subject: subject}
	if body != nil {
		var err error
		if m.Data, err = json.Marshal(body); err != nil {
			return err
		}
	}
	reply, err := request(ctx, conn, m, askTimeout)
	if err != nil {
		return adapter.Masked(err)
	}
	var failed struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(reply.Data, &failed); err != nil {
		return fmt.Errorf("malformed answer: %w", err)
	}
	if failed.Error != nil {
		return failed.Error
	}
	return json.Unmarshal(reply.Data, answer)
}

// holds reports whether the stream has a message on a subject, which may have
// wildcards. It asks the leader: other replicas may be behind.
func holds(ctx context.Context, conn *nats.Conn, api, stream, subject string) (bool, error) {
	return found(ask(ctx, conn, api+"STREAM.MSG.GET."+stream, map[string]string{"last_by_subj": subject}, &struct{}{}))
}

// stored reports whether the stream still has the message of a sequence.
func stored(ctx context.Context, conn *nats.Conn, api, stream string, seq uint64) (bool, error) {
	return found(ask(ctx, conn, api+"STREAM.MSG.GET."+stream, map[string]uint64{"seq": seq}, &struct{}{}))
}

func found(err error) (bool, error) {
	var api *jetstream.APIError
	if errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeMessageNotFound {
		return false, nil
	}
	return err == nil, err
}

// repeat calls fn after a pause, and again after each pause that fn returns, until
// that is 0 or stop is called. A call that has begun goes on after stop.
func repeat(first time.Duration, fn func() time.Duration) *repeater {
	r := &repeater{fn: fn}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.timer = time.AfterFunc(first, r.call)
	return r
}

type repeater struct {
	fn      func() time.Duration
	mu      sync.Mutex
	timer   *time.Timer // guarded by mu
	stopped bool        // guarded by mu
}

func (r *repeater) call() {
	next := r.fn()
	r.mu.Lock()
	defer r.mu.Unlock()
	if next > 0 && !r.stopped {
		r.timer.Reset(next)
	}
}

func (r *repeater) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	r.timer.Stop()
}
