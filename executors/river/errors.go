package riverexec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/riverqueue/river"

	"github.com/goairlock/airlock/core"
)

// failed says what became of the intents of a statement that failed: it is
// atomic, so they share a fate.
func failed(ctx context.Context, err error, intents []core.Intent) []core.Outcome {
	out := core.OutcomesOf(nil, intents)
	var unknown *river.UnknownJobKindError
	if errors.As(err, &unknown) { // found before anything was sent
		for i := range out {
			if out[i].State = core.NotSent; intents[i].Task == unknown.Kind {
				out[i].State = core.Rejected
			}
			out[i].Err = fmt.Errorf("airlock: river: the client has workers, and none for task %s "+
				"(see river.Config.SkipUnknownJobCheck): %w: %w", unknown.Kind, core.ErrNoHandler, err)
		}
		return out
	}
	state, err := judge(ctx, err)
	for i := range out {
		out[i].State, out[i].Err = state, err
	}
	return out
}

// judge says what an error of River's client means for the jobs of its call.
func judge(ctx context.Context, err error) (core.State, error) {
	switch at := stageOf(err); {
	case ctx.Err() != nil:
		return core.Unknown, withContext(ctx, err)
	case errors.Is(err, core.ErrInvalid):
		return core.Rejected, err
	case isDial(err):
		return core.NotSent, fmt.Errorf("airlock: river: %w: %w", core.ErrUnavailable, err)
	case at == committing:
		// The server answered that it rolled back; else it may have committed.
		if class := sqlState(err, 2); class == "40" || class == "23" || sqliteCode(err) == sqliteBusy {
			return core.NotSent, wrap(err)
		}
		return core.Unknown, wrap(err)
	case dataRefused(err):
		return core.Rejected, fmt.Errorf("airlock: river: %w: %w", core.ErrInvalid, err)
	case away(err):
		return core.NotSent, fmt.Errorf("airlock: river: %w: %w", core.ErrUnavailable, err)
	case sqlState(err, 2) != "" || sqliteCode(err) != 0 || unsent(err):
		return core.NotSent, wrap(err) // answered, and nothing is stored without a COMMIT
	case at == beginning && !isNetwork(err):
		return core.NotSent, wrap(err) // a pool that is closed, for one
	}
	return core.Unknown, wrap(err)
}

func wrap(err error) error { return fmt.Errorf("airlock: river: %w", err) }

// withContext makes sure that the context's error and cause are found.
func withContext(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	if !errors.Is(err, ctx.Err()) {
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return wrap(err)
}

// stage is how far a call of InsertMany had come. River tells it in the error's
// text alone (rivershared v0.51.1, dbutil.WithTxV).
type stage int

const (
	inserting stage = iota
	beginning
	committing
)

func stageOf(err error) stage {
	switch text := err.Error(); {
	case strings.HasPrefix(text, "error beginning transaction:"):
		return beginning
	case strings.HasPrefix(text, "error committing transaction:"):
		return committing
	}
	return inserting
}

// sqlState returns the first n characters of the five of PostgreSQL's code,
// "" if the error is none of the server's.
func sqlState(err error, n int) string {
	var server interface{ SQLState() string }
	if errors.As(err, &server) && len(server.SQLState()) >= n {
		return server.SQLState()[:n]
	}
	return ""
}

// Primary result codes of SQLite.
const (
	sqliteError      = 1
	sqliteBusy       = 5
	sqliteConstraint = 19
)

// sqliteCode returns SQLite's primary result code, 0 if the error is none of
// SQLite's.
func sqliteCode(err error) int {
	var engine interface{ Code() int }
	if errors.As(err, &engine) {
		return engine.Code() & 0xff
	}
	return 0
}

// dataRefused reports that the database will never take these data.
func dataRefused(err error) bool {
	switch sqlState(err, 2) {
	case "22", "23", "54": // data exception, integrity constraint, program limit
		return true
	}
	code := sqliteCode(err)
	return code == sqliteConstraint || code == sqliteError && strings.Contains(err.Error(), "malformed JSON")
}

// isDial reports that no connection could be made: nothing was sent, and
// neither River nor its drivers send a statement again.
func isDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// away reports that the server is not there for now: its connection broke before
// anything was written, or it says so itself.
func away(err error) bool {
	switch sqlState(err, 5) {
	case "57P01", "57P02", "57P03", "53300": // shut down, crashed, starting, no connection left
		return true
	}
	return unsent(err) && isNetwork(err)
}

// unsent reports what pgx knows: that nothing was written.
func unsent(err error) bool {
	var safe interface{ SafeToRetry() bool }
	return errors.As(err, &safe) && safe.SafeToRetry()
}

func isNetwork(err error) bool {
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}
