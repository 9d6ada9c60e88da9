package riverexec

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/goairlock/airlock/core"
)

// Configure prepares the Config of a client that is to be given to [New]: it adds
// the hook that stores an intent's identity. Call it before river.NewClient; a
// second call changes nothing. A nil config is [core.ErrInvalid].
//
// The client's own jobs are not affected.
func Configure(config *river.Config) error {
	if config == nil {
		return fmt.Errorf("airlock: river: nil config: %w", core.ErrInvalid)
	}
	ours := func(h rivertype.Hook) bool { _, ok := h.(*hook); return ok }
	if !slices.ContainsFunc(config.Hooks, ours) {
		config.Hooks = append(slices.Clip(config.Hooks), &hook{})
	}
	return nil
}

// hook sets what InsertOpts has no field for. It belongs to the client and not
// to the arguments, where River has hooks too: those are looked up once per kind
// and client, and a native insert of the kind that came first would leave ours
// out.
type hook struct{ river.HookDefaults }

// InsertBegin is called for each job, after River has mapped its options and
// before anything of the call is sent.
func (*hook) InsertBegin(_ context.Context, params *rivertype.JobInsertParams) error {
	switch args := params.Args.(type) {
	case *probe:
		args.answered.Store(true)
		return errProbed
	case *job:
		if args.ready {
			params.State = rivertype.JobStateAvailable
		}
		if args.key != nil {
			params.UniqueKey, params.UniqueStates = args.key, args.states
			return nil
		}
		return args.batch.claim(args, params.UniqueKey)
	}
	return nil
}

var errProbed = errors.New("airlock: river: the hook is there")

// probe is a job that is never stored: our hook stops it before anything is
// sent, and without the hook the database refuses its arguments, PostgreSQL as
// a NUL that jsonb cannot hold, SQLite as text that is not JSON.
type probe struct {
	kind     string
	answered atomic.Bool
}

func (p *probe) Kind() string                 { return p.kind }
func (p *probe) MarshalJSON() ([]byte, error) { return []byte(`"\u0000"`), nil }

// checkConfigured returns nil if the client has our hook. It asks once, in the
// transaction that the call is about to use or in one that is rolled back. The
// probe is of the call's own kind, as a client with workers takes only kinds
// that it knows.
func (e *Executor[TTx]) checkConfigured(ctx context.Context, tx *TTx, kind string) error {
	if e.configured.Load() {
		return nil
	}
	p := &probe{kind: kind}
	params := []river.InsertManyParams{{Args: p}}
	var err error
	if tx == nil {
		_, err = e.client.InsertMany(ctx, params)
	} else {
		_, err = e.client.InsertManyTx(ctx, *tx, params)
	}
	switch {
	case p.answered.Load():
		e.configured.Store(true)
		return nil
	case err != nil && ctx.Err() == nil && dataRefused(err):
		return fmt.Errorf("airlock: river: the client's Config was not given to riverexec.Configure, "+
			"so no identity can be stored: %w: %w", core.ErrInvalid, err)
	case err == nil:
		return fmt.Errorf("airlock: river: the client did not insert through its hooks: %w", core.ErrInvalid)
	}
	return err
}
