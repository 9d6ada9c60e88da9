package natsexec

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/core"
)

// Levels of JetStream's interface. A server of 2.10 or earlier gives none.
const (
	level211 = 1 // Nats-Expected-Last-Subject-Sequence-Subject
	level212 = 2 // schedules and atomic batches
)

// level returns what the server that leads the stream can do. It ignores headers
// that it does not know, so a claim must not rest on those.
func (s *streamInfo) level() int {
	n, err := strconv.Atoi(s.Config.Metadata["_nats.level"])
	if err != nil {
		return 0
	}
	return n
}

// checkLevel returns core.ErrInvalid if the servers are too old for what
// EnsureStream creates.
func checkLevel(ctx context.Context, js jetstream.JetStream) error {
	var account jetstream.AccountInfo
	if err := ask(ctx, js.Conn(), apiPrefix(js)+"INFO", nil, &account); err != nil {
		return fmt.Errorf("airlock: nats: read the server's level: %w", err)
	}
	if account.API.Level < level212 {
		return invalidf("the server is older than 2.12 and knows no schedules; " +
			"create a stream without them to use it all the same")
	}
	return nil
}

// CheckServer reports what about the server would lose accepted jobs or break a
// claim of [Executor.Capabilities], all at once: a stream that no longer fits, that
// allows less than when [New] read it, or that is in memory on one server; a
// second stream that stores the same jobs; a server that is too old for what is
// claimed. Such an error is [core.ErrInvalid]. What the user may not ask passes.
// Other errors say why the server could not be asked.
//
// It sends one message to a job's subject that no stream can store. A plain
// subscriber of that subject receives it.
func (e *Executor) CheckServer(ctx context.Context) error {
	if e == nil || e.guarded == nil {
		return errZeroExecutor
	}
	s, err := readStream(ctx, e.js, e.target.stream)
	if err != nil {
		return unlessDenied(err)
	}
	wrong := misfits(s.Config, e.opts.Lanes)
	add := func(bad bool, format string, args ...any) {
		if bad {
			wrong = append(wrong, fmt.Errorf(format, args...))
		}
	}
	claims := func(o core.OptionName) bool { return e.caps.Options[o].Support != core.SupportRefused }
	add(claims(core.OptionDelay) && !s.Config.AllowMsgSchedules, "it no longer allows schedules (allow_msg_schedules)")
	add(claims(core.OptionUnique) && s.level() < level211, "its server is older than 2.11 and ignores unique keys")
	add(e.opts.Atomic && !s.Config.AllowAtomicPublish, "it no longer allows atomic batches (allow_atomic)")
	add(s.Config.Duplicates < e.caps.IDWindow.For, "duplicate window of %v, was %v", s.Config.Duplicates, e.caps.IDWindow.For)
	add(s.Config.Storage == jetstream.MemoryStorage && s.Config.Replicas <= 1, "it is in memory on one server: a restart loses every job")
	largest := largestMessage(e.conn, s.Config)
	add(largest > 0 && e.largest > largest, "messages of %d bytes at most, was %d", largest, e.largest)
	switch other, err := e.secondStream(ctx, s); {
	case err != nil:
		return unlessDenied(err)
	case other != "":
		wrong = append(wrong, fmt.Errorf("%s stores the same jobs", other))
	}
	if len(wrong) > 0 {
		return misfitError(e.target.stream, wrong)
	}
	return nil
}

func unlessDenied(err error) error {
	var denied *deniedError
	if errors.As(err, &denied) {
		return nil
	}
	return err
}

// largestMessage is the most bytes that headers and payload have together.
func largestMessage(conn *nats.Conn, cfg jetstream.StreamConfig) int {
	most := int(conn.MaxPayload())
	if cfg.MaxMsgSize > 0 && (most <= 0 || int(cfg.MaxMsgSize) < most) {
		most = int(cfg.MaxMsgSize)
	}
	return most
}
