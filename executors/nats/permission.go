package natsexec

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/goairlock/airlock/core"
)

// A deniedError says that the user of the connection has no right to publish to a
// subject. Nothing was published.
type deniedError struct{ cause error }

func (e *deniedError) Error() string { return "not permitted: " + e.cause.Error() }
func (e *deniedError) Unwrap() error { return e.cause }

// violation returns the permissions violation that the connection reported since
// its last error was before, or nil. The server does not answer a message that it
// refused. It sends an error for the connection, and the client keeps the last one.
func violation(conn *nats.Conn, before error) error {
	err := conn.LastError()
	if !errors.Is(err, nats.ErrPermissionViolation) || err == before {
		return nil
	}
	return err
}

// deniedSubject returns the subject that a violation refuses to publish to, or "".
func deniedSubject(violation error) string {
	const mark = "Publish to "
	text := violation.Error()
	at := strings.Index(text, mark)
	if at < 0 {
		return ""
	}
	quoted, err := strconv.QuotedPrefix(text[at+len(mark):])
	if err != nil {
		return ""
	}
	subject, _ := strconv.Unquote(quoted)
	return subject
}

// refused settles what the server refused for lack of permissions, and reports
// whether there was anything. The server says which subject it refused, and the
// client keeps the last of these errors only. So each subject is asked for.
func (b *batchPublish) refused() bool {
	v := violation(b.e.conn, b.lastError)
	if v == nil {
		return false
	}
	b.lastError = v
	if strings.Contains(v.Error(), b.inbox) { // no answer will ever come
		return b.settleAwaited(func(*nats.Msg) outcome {
			return outcome{state: core.Unknown, err: fmt.Errorf("airlock: nats: no permission to receive acknowledgements: %w", v)}
		})
	}
	asked := map[string]error{}
	return b.settleAwaited(func(m *nats.Msg) outcome {
		denied, known := asked[m.Subject]
		if !known {
			denied = b.e.mayPublish(b.ctx, m.Subject)
			asked[m.Subject] = denied
		}
		if denied == nil {
			return outcome{inDoubt: true}
		}
		return publishError(denied)
	})
}

// settleAwaited settles the intents in flight with what of says about their
// messages, unless that is in doubt.
func (b *batchPublish) settleAwaited(of func(*nats.Msg) outcome) (any bool) {
	limit := b.now.Add(b.e.opts.AckTimeout)
	for i, s := range b.stage {
		if s != awaited {
			continue
		}
		if b.ctx.Err() != nil || time.Now().After(limit) {
			break
		}
		b.e.mapping.toNative(&b.message, &b.intents[i], b.now)
		if o := of(&b.message); !o.inDoubt {
			b.settle(i, o.state, o.err)
			any = true
		}
	}
	return any
}

// mayPublish returns a *deniedError if the user has no right to publish to a
// subject. It returns nil otherwise, and if it cannot find out. It sends a message that the
// stream can never store.
func (e *Executor) mayPublish(ctx context.Context, subject string) error {
	before := e.conn.LastError()
	if err := e.conn.PublishMsg(neverStored(subject)); err != nil {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, e.opts.AckTimeout)
	defer cancel()
	if err := e.conn.FlushWithContext(limited); err != nil {
		return nil
	}
	if v := violation(e.conn, before); v != nil && deniedSubject(v) == subject {
		return &deniedError{v}
	}
	return nil
}
